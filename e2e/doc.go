// Package e2e runs the built program from outside, as a user or a script
// would: real processes, real servers, verdicts and exit statuses.
package e2e
