package media

import (
	"context"
	"io"
	"io/fs"
	"os"
)

// pipeBytes is how much of a pipe is read at once.
const pipeBytes = 1 << 20

// pipe is a tar that comes through a pipe: standard input, or one with a name.
type pipe struct {
	*io.PipeReader
	stop func() bool
}

// OpenPipe opens a location that can be read only once: standard input, or a pipe with a name. For other locations it returns nil. A read that
// nothing comes for ends with ctx, and so does the wait for somebody to open the pipe's other end.
func OpenPipe(ctx context.Context, location string, opts Options) io.ReadCloser {
	if p := openPipe(ctx, location, opts); p != nil {
		return p
	}
	return nil
}

func openPipe(ctx context.Context, location string, opts Options) *pipe {
	if location == Stdin {
		return newPipe(ctx, opts.Stdin)
	}
	if info, err := os.Stat(location); IsPath(location) && err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		return newPipe(ctx, &namedPipe{path: location})
	}
	return nil
}

// newPipe reads in. A read that nothing comes for ends with ctx, which a read of the pipe itself does not.
func newPipe(ctx context.Context, in io.Reader) *pipe {
	r, w := io.Pipe()
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{in}, make([]byte, pipeBytes))
		w.CloseWithError(err) // nil is io.EOF
		if file, ok := in.(*namedPipe); ok {
			file.close()
		}
	}()
	return &pipe{r, context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })}
}

func (*pipe) Expect(int64) error { return nil }

func (*pipe) Remedy(int64, int64) string {
	return "see what the other end of the pipe says, and run it again"
}

func (p *pipe) Close() error {
	p.stop()
	return p.PipeReader.Close()
}

// namedPipe is a FIFO. It is opened by the first read, because that waits until somebody opens its other end.
type namedPipe struct {
	path string
	file *os.File
}

func (n *namedPipe) Read(p []byte) (int, error) {
	if n.file == nil {
		var err error
		if n.file, err = os.Open(n.path); err != nil {
			return 0, err
		}
	}
	return n.file.Read(p)
}

func (n *namedPipe) close() {
	if n.file != nil {
		n.file.Close()
	}
}
