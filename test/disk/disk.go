// Package disk is a disk whose power can be cut, for tests. It has the volatile write cache that real disks have: what was
// written, and not flushed, is in the memory of the test. [Disk.Cut] tosses a coin for each block of 4 KiB in that cache: half of
// them are on the disk, half are not, in no order. That is harder than most disks and still honest: a block that was flushed is there,
// whole, and so is each block of 4 KiB that was not, as it was or as it is. Torn blocks and disks that lie about flushing are
// not modelled.
//
// A machine under QEMU gets it by NBD ([Disk.Serve]), one that is made of namespaces as a file system ([Attached.Mount]).
package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
)

const (
	blockBytes = 4096
	// cacheBlocks bounds what a disk holds in its volatile cache: 32 MiB.
	cacheBlocks = 32 << 20 / blockBytes
)

// Disk is an image that is never written, the blocks that differ from it in a file, and a volatile write cache in front of both. A
// Flush empties the cache into the file, a power cut empties half of it there. Its methods may be called at the same time.
type Disk struct {
	mu     sync.Mutex
	image  *os.File
	own    *os.File
	size   int64
	differ []uint64                    // one bit a block: it is in own
	cache  map[int64]*[blockBytes]byte // by block, written and not yet flushed
	coin   *rand.Rand
}

// New makes a disk that begins as the image does, and keeps in the folder what is written to it. What a power cut loses is drawn from the seed.
func New(image, folder string, seed uint64) (*Disk, error) {
	base, err := os.Open(image)
	if err != nil {
		return nil, err
	}
	info, err := base.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size()%blockBytes != 0 {
		return nil, fmt.Errorf("%s has %d bytes, not a multiple of %d", image, info.Size(), blockBytes)
	}
	own, err := os.Create(filepath.Join(folder, "disk"))
	if err != nil {
		return nil, err
	}
	return &Disk{
		image: base, own: own, size: info.Size(), differ: make([]uint64, info.Size()/blockBytes/64+1),
		cache: map[int64]*[blockBytes]byte{}, coin: rand.New(rand.NewPCG(seed, 0)),
	}, nil
}

// block reads one block, as the machine sees it.
func (d *Disk) block(n int64, into []byte) error {
	if b, ok := d.cache[n]; ok {
		copy(into, b[:])
		return nil
	}
	from := d.image
	if d.differ[n/64]&(1<<(n%64)) != 0 {
		from = d.own
	}
	_, err := from.ReadAt(into[:blockBytes], n*blockBytes)
	return err
}

// store puts one block where a power cut does not reach it.
func (d *Disk) store(n int64, b *[blockBytes]byte) error {
	if _, err := d.own.WriteAt(b[:], n*blockBytes); err != nil {
		return err
	}
	d.differ[n/64] |= 1 << (n % 64)
	return nil
}

// ReadAt reads what the machine sees.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	return d.each(p, off, func(n int64, part []byte, at int) error {
		var b [blockBytes]byte
		if err := d.block(n, b[:]); err != nil {
			return err
		}
		copy(part, b[at:])
		return nil
	})
}

// WriteAt writes into the cache. One that is full loses blocks to the file, in no order.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	return d.each(p, off, func(n int64, part []byte, at int) error {
		b, ok := d.cache[n]
		if !ok {
			b = new([blockBytes]byte)
			if len(part) < blockBytes {
				if err := d.block(n, b[:]); err != nil {
					return err
				}
			}
			d.cache[n] = b
		}
		copy(b[at:], part)
		if len(d.cache) <= cacheBlocks {
			return nil
		}
		for victim, b := range d.cache {
			delete(d.cache, victim)
			return d.store(victim, b)
		}
		return nil
	})
}

// each calls do for the part of p that lies in each block, with where in the block it begins.
func (d *Disk) each(p []byte, off int64, do func(n int64, part []byte, at int) error) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off < 0 || off+int64(len(p)) > d.size {
		return 0, fmt.Errorf("bytes %d to %d of a disk of %d", off, off+int64(len(p)), d.size)
	}
	done := 0
	for done < len(p) {
		at := int((off + int64(done)) % blockBytes)
		part := p[done:min(len(p), done+blockBytes-at)]
		if err := do((off+int64(done))/blockBytes, part, at); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

// Flush empties the cache: what has been written so far survives a power cut.
func (d *Disk) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.empty(func() bool { return true })
}

// Cut is what a power cut does to the cache: each block of it is on the disk, or is not. It returns how
// many there were and how many are lost.
func (d *Disk) Cut() (cached, lost int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cached = len(d.cache)
	err = d.empty(func() bool {
		kept := d.coin.IntN(2) == 0
		if !kept {
			lost++
		}
		return kept
	})
	return cached, lost, err
}

func (d *Disk) empty(keep func() bool) error {
	for n, b := range d.cache {
		if keep() {
			if err := d.store(n, b); err != nil {
				return err
			}
		}
		delete(d.cache, n)
	}
	return nil
}

// The two files of a folder that a disk was saved to.
const (
	savedBlocks = "blocks" // sparse
	savedDiffer = "differ" // which of them are not the image's
)

// Save writes what differs from the image into a folder. Nothing waits in the cache: the machine was switched off in order.
func (d *Disk) Save(folder string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.cache) > 0 {
		return fmt.Errorf("%d blocks have not been flushed", len(d.cache))
	}
	var differ bytes.Buffer
	if err := binary.Write(&differ, binary.LittleEndian, d.differ); err != nil {
		return err
	}
	return errors.Join(
		run("cp", "--sparse=always", d.own.Name(), filepath.Join(folder, savedBlocks)),
		os.WriteFile(filepath.Join(folder, savedDiffer), differ.Bytes(), 0o600),
	)
}

// Restore makes a new disk what one was that has been saved.
func (d *Disk) Restore(folder string) error {
	data, err := os.ReadFile(filepath.Join(folder, savedDiffer))
	if err != nil {
		return err
	}
	if err := binary.Read(bytes.NewReader(data), binary.LittleEndian, d.differ); err != nil {
		return err
	}
	return run("cp", "--sparse=always", filepath.Join(folder, savedBlocks), d.own.Name())
}

// Close ends the disk; what it has written stays in the folder.
func (d *Disk) Close() error {
	_ = d.image.Close()
	return d.own.Close()
}
