// Package gateway is the HTTP edge of a unit: it sends each request to the
// unit that owns its key, and holds unsafe requests of keys that are moving.
package gateway
