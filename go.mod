module github.com/atoll-live/atoll

go 1.26.0

require (
	connectrpc.com/connect v1.21.1
	go.uber.org/goleak v1.3.0
	go.yaml.in/yaml/v3 v3.0.6
	golang.org/x/sys v0.49.0
	google.golang.org/protobuf v1.36.12
	pgregory.net/rapid v1.3.0
)
