// Package snapshot saves a server to one file, and makes a server of it again.
//
// A snapshot is a tar archive, compressed with zstd (`tar --zstd -xf` reads it):
//
//	manifest.json            what it is of, and every following entry with its size and SHA-256
//	db/state.db              the SQLite datastore, whole: it needs no write-ahead log
//	parts/<name>[/<path>]    the files that make a cluster itself beside its datastore: authorities, tokens, keys
//
// # Invariants
//
//   - The datastore in a snapshot is as it was at one moment. It may be in use, by this process or another, while it
//     is saved; writers are not held up.
//   - A file under a snapshot's name is complete, its datastore passed SQLite's check, and it is on the disk: it was
//     written beside, synced and renamed. What a killed [Save] leaves begins with a dot and is removed by the next.
//   - A snapshot is readable by its owner alone: it holds the cluster's private keys.
//   - [Restore] changes nothing before every byte was compared with the manifest and the datastore has been checked. What it
//     replaces is kept, in a folder beside.
//   - A restore that was cut off when it had begun to replace is finished by [Resume], which everything that opens the
//     datastore calls first; one that was cut off before has changed nothing.
//
// The package knows paths and no node: who calls it says where things lie.
package snapshot
