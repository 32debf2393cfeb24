package media

import (
	"context"
	"io"
)

// pipeBytes is how much of standard input is read at once.
const pipeBytes = 1 << 20

// standardInput is a tar that comes through a pipe.
type standardInput struct {
	*io.PipeReader
	stop func() bool
}

// newStandardInput reads in. A read that nothing comes for ends with ctx, which a read of the pipe itself does not.
func newStandardInput(ctx context.Context, in io.Reader) *standardInput {
	r, w := io.Pipe()
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{in}, make([]byte, pipeBytes))
		w.CloseWithError(err) // nil is io.EOF
	}()
	return &standardInput{r, context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })}
}

func (*standardInput) Expect(int64) error { return nil }

func (*standardInput) Remedy(int64, int64) string {
	return "see what the other end of the pipe says, and run it again"
}

func (s *standardInput) Close() error {
	s.stop()
	return s.PipeReader.Close()
}
