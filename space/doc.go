// Package space holds the documents of Atoll: the MultiLiveSpace, Atoll's own
// kinds beside it, and the Snapshot that the console publishes from them. It
// reads and writes them, and says what is wrong with them.
package space
