// Package datastore gives the API server an etcd endpoint. For SQLite, PostgreSQL and MySQL it is
// kine in this process, on a unix socket; etcd itself is handed on as it is.
//
// # What it promises
//
//   - A store that is down, or damaged, at the start is tried again until it is there; nothing ends for good.
//     What is wrong is logged once per change of state, and written where `airgap status` reads it.
//   - A write that the store has refused is an error. (kine answers some of them as if they had been done:
//     see [observed].)
//   - The password of an endpoint is in no log and no error.
//   - SQLite's files are readable by root alone, checked after a stop that was not clean, and bounded in size:
//     the write-ahead log by [keepWALSmall], the database by the API server's compaction every five minutes.
//
// # Files
//
// datastore.go starts it; backend.go and connect.go know the kinds; sqlite.go looks after SQLite's files; serve.go is the
// GRPC server; health.go and observe.go watch over the store, problem.go says in plain words what is wrong with it, kinelog.go
// thins out kine's log; status.go and migrate*.go serve the verbs of `airgap datastore`.
//
// kine's own endpoint package is not imported: it links every driver there is, NATS' server among them.
package datastore
