// Package storetest is the one suite that every store.Store passes.
package storetest
