// Package api holds the protocol between console, planes and command line:
// api/atoll/v1 is its protobuf and the code generated from it.
package api
