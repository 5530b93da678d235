// Package idgen makes 63-bit ids that carry the bucket of their key, so that
// an order id alone tells where the order lives. It is pure: the clock is
// handed in, and so is the time that the worker has reserved.
package idgen
