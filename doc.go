// Package atoll is the root of the repository: it holds no code but the taste
// tests that keep the whole tree in the shape that ARCHITECTURE.md describes.
package atoll
