// Package keyproof holds one test, which needs proxies, lanes and routing
// together: values that a real server calls equal never have two owners,
// whatever way Atoll takes to say who owns them.
package keyproof
