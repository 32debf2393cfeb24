package media

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"airgap/bundle"
)

// folder is where parts lie.
type folder interface {
	// open gives a file and its size in bytes; the error is [fs.ErrNotExist] if there is none.
	open(ctx context.Context, name string) (io.ReadCloser, int64, error)
	// size is that of a file without opening it for reading.
	size(ctx context.Context, name string) (int64, error)
	String() string
}

// localFolder is a folder of this machine. It is held open by nothing, so that its medium can be taken out.
type localFolder string

func (d localFolder) String() string { return string(d) }

func (d localFolder) size(_ context.Context, name string) (int64, error) {
	info, err := os.Stat(filepath.Join(string(d), name))
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s is not a regular file", bundle.ErrFormat, name)
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (d localFolder) open(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	size, err := d.size(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	file, err := os.Open(filepath.Join(string(d), name))
	return file, size, err
}

// parts is a tar that was cut into files.
type parts struct {
	ctx     context.Context
	name    string   // of the bundle; parts add their number to it
	folders []folder // where they are looked for, in this order
	ask     func(ctx context.Context, want MissingPart) (folder string, err error)

	present io.ReadCloser // the part being read; nil between parts
	number  int           // its, from 1
	left    int64         // bytes of it that have not been read
	first   int64         // size of the first part, and of every other but the last
	total   int64         // of the tar; 0 until the manifest is trusted
	missing bool          // the one that was wanted last was not there
	files   []*os.File    // all of them, once Whole has been asked for
}

func (p *parts) partName(number int) string { return bundle.PartName(p.name, number) }

// count is how many parts there are; 0 while that is not known.
func (p *parts) count() int {
	if p.total == 0 {
		return 0
	}
	return bundle.PartCount(p.total, p.first)
}

// addParts is the remedy for parts that are missing.
const addParts = "put all parts into one folder, or say with --parts-in where the others are"

func (p *parts) Remedy(first, after int64) string {
	if p.missing {
		return addParts
	}
	from, to := p.partName(p.partAt(first)), p.partName(p.partAt(after-1))
	if from != to {
		from += " to " + to
	}
	return fmt.Sprintf("copy %s again, or try another stick", from)
}

// partAt is the number of the part that has a byte of the tar.
func (p *parts) partAt(offset int64) int {
	number := int(offset/max(1, p.first)) + 1
	if count := p.count(); count > 0 {
		number = min(number, count)
	}
	return number
}

func (p *parts) Read(b []byte) (int, error) {
	for p.left == 0 {
		if p.number == p.count() {
			return 0, io.EOF
		}
		if err := p.next(); err != nil {
			return 0, err
		}
	}
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := p.present.Read(b[:min(int64(len(b)), p.left)])
	p.left -= int64(n)
	if err == io.EOF && p.left > 0 && n == 0 {
		return 0, io.ErrUnexpectedEOF // it had that size when it was opened
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// next closes the present part and opens the one after it.
func (p *parts) next() error {
	if err := p.closePresent(); err != nil {
		return err
	}
	want := MissingPart{Name: p.partName(p.number + 1), Number: p.number + 1, Count: p.count()}
	for number := want.Number; ; {
		body, size, err := p.find(&want)
		if err != nil {
			return err
		}
		if body != nil {
			if p.number == 0 {
				p.first = size
			}
			p.present, p.left, p.number, p.missing = body, size, number, false
			if size == 0 {
				return fmt.Errorf("%w: %s is empty", bundle.ErrTruncated, want.Name)
			}
			return nil
		}
		if p.missing = true; p.ask == nil {
			return &missingError{[]string{want.Name}, want.In}
		}
		place, err := p.ask(p.ctx, want)
		if err != nil {
			return err
		}
		if place != "" {
			p.folders = append([]folder{localFolder(place)}, p.folders...)
		}
	}
}

// find opens the part that is wanted in the first folder that has it with the right size; nil if none has.
func (p *parts) find(want *MissingPart) (io.ReadCloser, int64, error) {
	want.In, want.Reason = nil, nil
	for _, place := range p.folders {
		body, size, err := place.open(p.ctx, want.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			want.In = append(want.In, place.String())
			continue
		case err != nil:
			return nil, 0, err
		}
		wrong := p.checkSize(want.Number, size)
		if wrong == nil {
			return body, size, nil
		}
		body.Close()
		if p.ask == nil {
			return nil, 0, wrong
		}
		want.Reason = wrong
	}
	return nil, 0, nil
}

// size is what a part must have; 0 while that is not known.
func (p *parts) size(number int) int64 {
	if p.total == 0 {
		return 0
	}
	return min(p.first, p.total-int64(number-1)*p.first)
}

// checkSize holds a part's size against what it must be.
func (p *parts) checkSize(number int, size int64) error {
	switch want := p.size(number); {
	case want == 0 || size == want:
		return nil
	case size < want:
		return fmt.Errorf("%w: %s has %d bytes of %d; copy it again, or try another stick", bundle.ErrTruncated, p.partName(number), size, want)
	case number == 1:
		return fmt.Errorf("%w: %s has %d bytes, the whole bundle has %d", bundle.ErrFormat, p.partName(number), size, want)
	default:
		return fmt.Errorf("%w: %s has %d bytes where %d must be: it is of another bundle or was cut at another size, or %s is not whole",
			bundle.ErrFormat, p.partName(number), size, want, p.partName(1))
	}
}

// Expect holds the parts that can be seen against the length of the tar. Those that cannot are asked for when their turn comes, if
// there is somebody to ask.
func (p *parts) Expect(bytes int64) error {
	p.total = bytes
	if err := p.checkSize(1, p.first); err != nil {
		return err
	}
	var missing []string
	for number := 2; number <= p.count(); number++ {
		size, err := p.seen(number)
		if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, p.partName(number))
			continue
		}
		if err == nil && p.ask == nil {
			err = p.checkSize(number, size)
		}
		if err != nil {
			return err
		}
	}
	if len(missing) == 0 || p.ask != nil {
		return nil
	}
	p.missing = true
	return fmt.Errorf("%w; %s", &missingError{missing, p.places()}, addParts)
}

// seen is the size of a part in the first folder that has it.
func (p *parts) seen(number int) (size int64, err error) {
	for _, place := range p.folders {
		if size, err = place.size(p.ctx, p.partName(number)); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return size, err
}

func (p *parts) places() []string {
	var names []string
	for _, place := range p.folders {
		names = append(names, place.String())
	}
	return names
}

// Whole opens all parts, if all are files that can be seen, to be read at several places at once.
func (p *parts) Whole() io.ReaderAt {
	for number := 1; number <= p.count(); number++ {
		file, ok := p.openFile(number)
		if !ok {
			p.closeFiles()
			return nil
		}
		p.files = append(p.files, file)
	}
	return partsAt{p}
}

// openFile opens a part that is a file of this machine and has the right size.
func (p *parts) openFile(number int) (*os.File, bool) {
	for _, place := range p.folders {
		body, size, err := place.open(p.ctx, p.partName(number))
		if err != nil {
			continue
		}
		if file, ok := body.(*os.File); ok && p.checkSize(number, size) == nil {
			return file, true
		}
		body.Close()
	}
	return nil, false
}

// partsAt reads the open files.
type partsAt struct{ *parts }

func (p partsAt) ReadAt(b []byte, offset int64) (read int, err error) {
	for len(b) > 0 && offset < p.total {
		number, at := int(offset/p.first)+1, offset%p.first
		n, err := p.files[number-1].ReadAt(b[:min(int64(len(b)), p.size(number)-at)], at)
		read += n
		if err != nil && err != io.EOF || n == 0 {
			return read, cmp.Or(err, io.ErrUnexpectedEOF)
		}
		b, offset = b[n:], offset+int64(n)
	}
	if len(b) > 0 {
		return read, io.EOF
	}
	return read, nil
}

func (p *parts) Close() error {
	err := p.closePresent()
	return errors.Join(err, p.closeFiles())
}

func (p *parts) closePresent() error {
	if p.present == nil {
		return nil
	}
	err := p.present.Close()
	p.present = nil
	return err
}

func (p *parts) closeFiles() error {
	var errs []error
	for _, file := range p.files {
		errs = append(errs, file.Close())
	}
	p.files = nil
	return errors.Join(errs...)
}
