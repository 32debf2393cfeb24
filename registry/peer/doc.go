// Package peer spreads what a site's machines hold among them: the bytes of bundles and images go from the first
// machine, the seeder, to many others, mostly by way of each other.
//
//	[Handler]   what a machine gives its peers
//	[Tracker]   on the server: tells each joiner which blob to take from whom
//	[Fetcher]   on a joiner: takes blobs, verifies them, says what it has
//
// The messages are those of package site.
//
// # How the load is spread
//
// The unit is a whole blob. A joiner gives away only what it has verified, so wrong bytes travel one step.
//
//  1. A blob that no joiner has comes from the seeder, to one joiner at a time: the others wait for that one, or take another blob
//     meanwhile. Only when the one takes long ([seedPatience]) does a second get it too.
//  2. A blob that joiners have comes from them, the least busy first.
//  3. Of the blobs that can be had at this moment the rarest is taken, so that joiners soon have something to give each other.
//  4. No machine gives more than a few blobs at once ([uploadsPerSource]).
//
// The seeder so gives every byte about once, however many join. Blobs of up to [directBytes], which are
// a thousandth of a bundle's bytes and most of its blobs, are not worth a question: they come straight from
// the nodes that hold everything.
//
// # What a hostile peer can do
//
// Whoever gives other bytes than the digest's is not asked again by the joiner that found out, and by nobody once several have said so.
// Whoever gives nothing, gives slowly or never stops is left after [stallTimeout], or at the last byte that was declared; what
// it did give is kept, and the next peer is asked for the rest. If bytes of several peers turn out wrong together, the blob is taken
// anew from one, and then it is known who it was. What a joiner reports of others orders whom the server names
// first; only a seeder is never struck off by reports.
package peer
