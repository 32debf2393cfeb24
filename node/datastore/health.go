package datastore

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"airgap/internal/atomicfile"
	"airgap/node/config"
)

// A store is slow when a request takes longer than slowAnswer, and well again after so many quick ones in a row.
const (
	slowAnswer   = 3 * time.Second
	quickAnswer  = 500 * time.Millisecond
	quickAnswers = 10
)

// health is what is known of a store from the answers it gives to the requests that are made anyway. Each change is
// logged once and written to a file.
type health struct {
	store config.Datastore
	file  string
	log   *slog.Logger
	well  atomic.Bool // nothing is wrong: the usual case, without the lock

	mu               sync.Mutex
	opening          string // why the store is not open; "" once it is
	reading, writing string // why such requests fail; "" if they do not
	slow             bool
	quick            int    // quick answers since the last slow one
	told             string // the problem told last
	since            time.Time
	everTold         bool
}

func newHealth(store config.Datastore, file string, log *slog.Logger) *health {
	return &health{store: store, file: file, log: log}
}

// opened is the end of the start.
func (h *health) opened() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.opening, h.reading, h.writing, h.slow = "", "", "", false
	h.tell()
}

// closed is a start that failed and will be tried again.
func (h *health) closed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.opening = explain(h.store, err)
	h.tell()
}

// forget removes the file: nobody looks at the store any more.
func (h *health) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file != "" {
		os.Remove(h.file)
		h.file = ""
	}
}

// read takes note of the answer to a request that changes nothing.
func (h *health) read(err error, took time.Duration) { h.note(&h.reading, err, took) }

// write takes note of the answer to a request that changes something. One that went well shows that the store can be read, too.
func (h *health) write(err error, took time.Duration) {
	if err == nil {
		h.note(&h.reading, nil, 0)
	}
	h.note(&h.writing, err, took)
}

func (h *health) note(what *string, err error, took time.Duration) {
	failed := err != nil && isFailure(err)
	if !failed && took < slowAnswer && h.well.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if failed {
		*what = explain(h.store, err)
	} else if err == nil {
		*what = ""
	}
	switch {
	case took >= slowAnswer && !failed:
		h.slow, h.quick = true, 0
	case took < quickAnswer && !failed:
		if h.quick++; h.quick >= quickAnswers {
			h.slow = false
		}
	}
	h.tell()
}

// failing says whether requests fail at the moment.
func (h *health) failing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.opening != "" || h.reading != "" || h.writing != ""
}

// problem is the worst of what is wrong.
func (h *health) problem() string {
	switch {
	case h.opening != "":
		return h.opening
	case h.reading != "":
		return h.reading
	case h.writing != "":
		return "it takes no writes: " + h.writing
	case h.slow:
		return "it is slow: a request took longer than " + slowAnswer.String()
	}
	return ""
}

// tell logs and writes down a state that is new. The lock is held.
func (h *health) tell() {
	problem := h.problem()
	h.well.Store(problem == "")
	if h.everTold && (problem == "") == (h.told == "") && (problem == h.told || kindOf(problem) == kindOf(h.told)) {
		return
	}
	before := h.since
	h.told, h.since = problem, time.Now()
	switch {
	case problem != "":
		h.log.Error("the datastore does not work; the node tries again until it does", "datastore", h.store.String(), "problem", problem)
	case h.everTold:
		h.log.Info("the datastore works again", "datastore", h.store.String(), "after", time.Since(before).Round(time.Millisecond))
	}
	h.everTold = true
	if h.file == "" {
		return
	}
	data, err := json.Marshal(config.DatastoreState{Datastore: h.store.String(), Problem: problem, Since: h.since})
	if err == nil {
		err = atomicfile.Write(h.file, append(data, '\n'), 0o644)
	}
	if err != nil {
		h.log.Warn("the datastore's state is not written down for `airgap status`", "error", err)
	}
}

// isFailure says whether an error is one of the store, and not an answer or a request that was given up.
func isFailure(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	switch status.Code(err) {
	case codes.OutOfRange, codes.FailedPrecondition, codes.InvalidArgument, codes.Unimplemented, codes.Canceled:
		return false // compacted, future revision, key exists, no such feature
	}
	return true
}
