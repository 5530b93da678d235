// Package demo is the main job from end to end: it drives load and a round of
// moves over a running sandbox, lets the auditor judge, draws what happens, and
// writes the report.
package demo
