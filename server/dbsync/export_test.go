package dbsync

import "github.com/atoll-live/atoll/route"

var switchDoc = route.Switch
