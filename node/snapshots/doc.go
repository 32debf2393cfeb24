// Package snapshots makes the snapshots of a server: it knows which files of a node belong into one, and makes them by
// schedule while the server runs. The archive itself is internal/snapshot's.
//
// A schedule is kept by the time of the newest snapshot, not by a clock that may have been wrong or off: one that was missed is made
// soon after the next start.
package snapshots
