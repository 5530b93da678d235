module github.com/atoll-live/atoll/e2e

go 1.26.0
