package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

const (
	// fetchVerb makes this program fetch blobs by plain HTTP and do nothing else: the yardstick of build.
	fetchVerb = "fetch"
	// fetchConcurrency is how many it fetches at once: as many as build does by itself.
	fetchConcurrency = 4
)

// fetchBlobs is the yardstick: the blobs in a list ("URL SIZE SHA256" in each line) are fetched into one file, one after the other in it,
// several at a time, each hashed on its way, and the file synced.
func fetchBlobs(list, output string) error {
	wanted, total, err := readBlobList(list)
	if err != nil {
		return err
	}
	file, err := os.Create(output)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Truncate(total); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(context.Background())
	var next atomic.Int64
	for range fetchConcurrency {
		group.Go(func() error {
			buffer := make([]byte, 1<<20)
			for i := int(next.Add(1)) - 1; i < len(wanted); i = int(next.Add(1)) - 1 {
				if err := wanted[i].fetch(ctx, file, buffer); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return file.Sync()
}

// wantedBlob is a line of the list.
type wantedBlob struct {
	url    string
	size   int64
	sha256 string
	offset int64 // in the file
}

func readBlobList(path string) (wanted []wantedBlob, total int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		w := wantedBlob{offset: total}
		if _, err := fmt.Sscan(lines.Text(), &w.url, &w.size, &w.sha256); err != nil {
			return nil, 0, fmt.Errorf("%q: %w", lines.Text(), err)
		}
		wanted, total = append(wanted, w), total+w.size
	}
	return wanted, total, nil
}

func (w wantedBlob) fetch(ctx context.Context, file io.WriterAt, buffer []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	hash := sha256.New()
	to := io.MultiWriter(hash, io.NewOffsetWriter(file, w.offset))
	n, err := io.CopyBuffer(to, struct{ io.Reader }{response.Body}, buffer)
	if err != nil {
		return err
	}
	if n != w.size || hex.EncodeToString(hash.Sum(nil)) != w.sha256 {
		return fmt.Errorf("%s: %s, %d bytes", w.url, response.Status, n)
	}
	return nil
}
