// Package encryption keeps the keys that encrypt secrets in the datastore, and changes
// them under a running cluster.
//
// The API server's encryption configuration lists keys: the first encrypts what is written,
// any of them decrypts what is read. The API server takes a changed file over by itself. A rotation
// is four states of that one file, and nothing else, so the file is also the journal of the rotation:
//
//	file          stage      the next step may be taken when
//	[1]           start
//	[1, 2]        prepare    the API server can read what 2 encrypts: it has loaded this file
//	[2, 1]        rotate     it writes with 2: it has loaded this file
//	[2, 1]        reencrypt  every secret has been written again, and the datastore holds none of 1's
//	[2]           start
//
// Each state replaces the one before by a rename that is synced. After a power cut at any moment every
// secret can be read, and calling [Rotator.Run] again goes on from the state it finds.
//
// Switching encryption off puts the identity provider, which encrypts nothing, first; the key stays,
// for it must decrypt until all is rewritten. Switching it on takes it back.
package encryption
