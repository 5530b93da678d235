// Package dbsync is the plane that copies unit data between the units'
// databases: one lane from each other unit into its own, in the order of the
// source's transactions, each exactly once, judged by who owned its keys where
// it stands in the source's binary log.
package dbsync
