package source

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"

	"github.com/mholt/archiver/v4"
)

// compressions are the compressed forms that archiver can read, surest mark first.
// archiver's own Identify asks them in random order and takes brotli, which has no mark,
// for much that it is not; so brotli goes by file name alone.
var compressions = []archiver.Compression{
	archiver.Xz{}, archiver.Zstd{}, archiver.Sz{}, archiver.Lz4{}, archiver.Lzip{},
	archiver.Bz2{}, archiver.Gz{Multithreaded: true}, archiver.Zlib{},
}

// headBytes is enough of a file for every mark, ustar's included, which stands at byte 257.
const headBytes = 512

// decompressor finds how a file is compressed. It returns nil for a plain tar. The file is left at
// its beginning.
func decompressor(ctx context.Context, file *os.File) (archiver.Decompressor, error) {
	head := make([]byte, headBytes)
	n, err := io.ReadFull(file, head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if head = head[:n]; n >= 263 && string(head[257:262]) == "ustar" {
		return nil, nil
	}
	for _, c := range compressions {
		if match, err := c.Match(ctx, "", bytes.NewReader(head)); err == nil && match.ByStream {
			return c, nil
		}
	}
	if strings.HasSuffix(file.Name(), archiver.Brotli{}.Extension()) {
		return archiver.Brotli{}, nil
	}
	return nil, nil
}

// expand writes what a compressed file holds into a temporary file in folder (the
// system's own if empty) that has no name any more: it is gone when it is closed, however
// the process ends. A file that is not compressed comes back as it is.
func expand(ctx context.Context, file *os.File, folder string) (*os.File, error) {
	format, err := decompressor(ctx, file)
	if err != nil || format == nil {
		return file, err
	}
	defer file.Close()
	reader, err := format.OpenReader(file)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	temporary, err := os.CreateTemp(folder, "airgap-archive-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(temporary.Name()); err != nil {
		temporary.Close()
		return nil, err
	}
	if _, err := io.Copy(temporary, contextReader{ctx, reader}); err != nil {
		temporary.Close()
		return nil, err
	}
	_, err = temporary.Seek(0, io.SeekStart)
	return temporary, err
}

// contextReader ends when its context does.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
