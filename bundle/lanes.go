package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"runtime"
	"sync"
)

const (
	// maxLanes bounds how many entries are hashed at once, and with laneChunks the memory that takes.
	maxLanes = 8
	// laneChunks is how many chunks of one entry may wait for its hash.
	laneChunks = 2
	// runBytes is up to what size entries that follow each other are read as one.
	runBytes = chunkBytes
)

// lanes checks entries on all cores while one goroutine reads. It reads on where it is for as long as the hash there keeps
// up: a slow medium is read strictly in order. Where the hash is behind it begins the next entries: a fast
// medium is hashed as fast as the cores can, in a memory that depends neither on the bundle nor on its entries.
type lanes struct {
	entries []Entry
	open    func(first, after int) (medium, error)
	read    func(bytes int)

	all   []*lane
	begun int           // how many entries have been given to a lane
	free  chan []byte   // chunks that are not in use: always one for the reader if any lane has room
	moved chan struct{} // some hash has got on

	mu      sync.Mutex
	refused int // the first of the entries that are known to be refused; beyond them if there is none
	err     error
}

// lane is a run of entries that is read by the one reader and hashed by a goroutine of its own.
type lane struct {
	medium  medium // nil without a run
	at      int    // the entry that is read, len(entries) for the end of the bundle
	after   int    // the end of the run
	entered bool
	left    int64 // of the entry, bytes that have not been read
	pieces  chan piece
}

// piece is what has been read of an entry at once.
type piece struct {
	chunk  []byte
	entry  int
	begins int64  // offset of the entry's contents
	last   bool   // of its entry
	remedy string // what to do about the entry if it is not what was signed; of the last piece
}

// verifySections checks the entries that open gives access to, and the end after them. read is told how many bytes each
// read has brought. If several are refused the error is that of the first.
func verifySections(ctx context.Context, entries []Entry, open func(first, after int) (medium, error), read func(bytes int)) error {
	count := max(1, min(runtime.GOMAXPROCS(0), maxLanes, len(entries)))
	l := &lanes{
		entries: entries, open: open, read: read, refused: len(entries) + 1,
		free: make(chan []byte, count*(laneChunks+1)+1), moved: make(chan struct{}, 1),
	}
	for range cap(l.free) {
		l.free <- nil // allocated when first needed
	}
	var hashes sync.WaitGroup
	for range count {
		lane := &lane{pieces: make(chan piece, laneChunks)}
		l.all = append(l.all, lane)
		hashes.Go(func() { l.hash(lane) })
	}
	err := l.readAll(ctx)
	for _, lane := range l.all {
		close(lane.pieces)
		err = errors.Join(err, lane.close())
	}
	hashes.Wait()
	if l.err != nil {
		return l.err
	}
	return err
}

// readAll reads every entry, or up to the first that is refused. Refusals are kept in l.
func (l *lanes) readAll(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		lane, busy := l.pick()
		switch {
		case lane != nil:
			if err := l.step(lane); err != nil {
				l.refuse(lane.at, err)
			}
		case busy:
			<-l.moved
		default:
			return nil
		}
	}
}

// pick returns the lane to read for: of those with room the first in the bundle's order, or one that begins the next run.
// Without any, busy says whether there is more to read once a hash has got on.
func (l *lanes) pick() (chosen *lane, busy bool) {
	l.mu.Lock()
	refused := l.refused
	l.mu.Unlock()
	var idle *lane
	for _, lane := range l.all {
		room := len(lane.pieces) < cap(lane.pieces)
		switch {
		case lane.medium == nil:
			if room {
				idle = lane
			}
		case lane.at >= refused: // nothing that comes later matters
		case !room:
			busy = true
		case chosen == nil || lane.at < chosen.at:
			chosen = lane
		}
	}
	more := l.begun <= len(l.entries) && l.begun < refused
	if chosen == nil && idle != nil && more {
		l.assign(idle)
		return idle, true
	}
	return chosen, busy || more
}

// assign gives lane the next run: one long entry, or several short ones. The end of the bundle belongs to the last.
func (l *lanes) assign(lane *lane) {
	first := l.begun
	after := first
	for size := int64(0); after < len(l.entries) && (after == first || size+l.entries[after].Size <= runBytes); after++ {
		size += l.entries[after].Size
	}
	lane.at, lane.after, lane.entered = first, after, false
	l.begun = after
	if after == len(l.entries) {
		lane.after, l.begun = after+1, after+1
	}
}

// step opens the lane's section, or enters its next entry, or reads a chunk of it.
func (l *lanes) step(lane *lane) (err error) {
	switch {
	case lane.medium == nil:
		lane.medium, err = l.open(lane.at, min(lane.after, len(l.entries)))
		return err
	case lane.at == len(l.entries):
		if err := lane.medium.end(); err != nil {
			return err
		}
		return lane.next()
	case !lane.entered:
		lane.entered, lane.left = true, l.entries[lane.at].Size
		return enterEntry(lane.medium, l.entries[lane.at])
	}
	chunk := <-l.free
	if chunk == nil {
		chunk = make([]byte, chunkBytes)
	}
	n := min(lane.left, chunkBytes)
	if _, err := io.ReadFull(lane.medium, chunk[:n]); err != nil {
		l.free <- chunk
		return readError(err, l.entries[lane.at].Path, lane.medium.position(), lane.medium.remedy())
	}
	l.read(int(n))
	lane.left -= n
	p := piece{chunk: chunk[:n], entry: lane.at, begins: lane.medium.begins(), last: lane.left == 0}
	if p.last {
		p.remedy = lane.medium.remedy()
	}
	lane.pieces <- p // never waits: pick has seen room, and nobody else sends
	if !p.last {
		return nil
	}
	if err := lane.medium.leave(); err != nil {
		return err
	}
	return lane.next()
}

// next moves on within the run, or ends it.
func (l *lane) next() error {
	l.entered = false
	if l.at++; l.at < l.after {
		return nil
	}
	return l.close()
}

func (l *lane) close() error {
	if l.medium == nil {
		return nil
	}
	m := l.medium
	l.medium = nil
	return m.Close()
}

// hash checks what the reader hands to a lane.
func (l *lanes) hash(lane *lane) {
	hash := sha256.New()
	for p := range lane.pieces {
		hash.Write(p.chunk)
		if p.last {
			if err := checkDigest(l.entries[p.entry], hash.Sum(nil), p.begins, p.remedy); err != nil {
				l.refuse(p.entry, err)
			}
			hash.Reset()
		}
		l.free <- p.chunk[:chunkBytes]
		select {
		case l.moved <- struct{}{}:
		default: // the reader has not yet taken the last notice
		}
	}
}

// refuse notes why entry is refused, unless one before it is, too.
func (l *lanes) refuse(entry int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if entry < l.refused {
		l.refused, l.err = entry, err
	}
}
