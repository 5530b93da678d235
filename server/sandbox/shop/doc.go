// Package shop is the demo application of the sandbox: an ordinary Go web
// application with an ordinary MySQL driver, which lets buyers browse, order,
// pay and look at their orders.
package shop
