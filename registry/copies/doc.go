// Package copies keeps what was pushed at a site on a few of its nodes, and lets each node answer for all.
//
// # Where a repository is
//
// A repository's homes are the first k nodes of the site in an order that is the hash of its name and theirs ([Rank],
// rendezvous hashing): every node finds the same ones without asking, and a node that comes or goes moves only what
// it is the home of. A push is taken by whichever node the client talks to. In rounds, every [interval] and
// whenever something is pushed, each node reads from the others what they hold ([distribution.Record], GET /v2/_records),
//
//   - takes what it is a home of and lacks, from whoever has it, verified by digest;
//   - forgets what it is no home of, once all homes say that they have it, or something later of that name.
//
// A node that others do not answer for keeps what it has.
//
// # Which copy holds
//
// The record with the latest time, wherever it was made. A node makes a record later than all those that it knows of, so a
// wrong clock does not undo a push; two pushes to one tag on two nodes that do not reach each other end with the later
// one by their clocks. Deletions are records too, and are remembered for two weeks: a node that comes back after a longer time
// brings back what was deleted meanwhile.
package copies
