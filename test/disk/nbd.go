package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// The numbers are those of the network block device protocol (NetworkBlockDevice/nbd, doc/proto.md): the
// fixed newstyle handshake and simple replies, which is what QEMU needs.
const (
	nbdMagic        = 0x4e42444d41474943 // "NBDMAGIC"
	nbdOptionMagic  = 0x49484156454F5054 // "IHAVEOPT"
	nbdReplyMagic   = 0x3e889045565a9
	nbdRequestMagic = 0x25609513
	nbdSimpleMagic  = 0x67446698

	nbdFixedNewstyle = 1
	nbdOptionAbort   = 2
	nbdOptionGo      = 7
	nbdAck           = 1
	nbdInfo          = 3
	nbdUnsupported   = 1<<31 | 1

	nbdHasFlags  = 1 << 0
	nbdSendFlush = 1 << 2

	nbdRead       = 0
	nbdWrite      = 1
	nbdDisconnect = 2
	nbdFlush      = 3

	nbdErrIO      = 5
	nbdErrInvalid = 22

	nbdMaxBytes = 64 << 20 // of one request
)

// Serve answers a client of the network block device protocol on the connection until the other side ends: QEMU, whose process is killed in a power cut.
func (d *Disk) Serve(conn net.Conn) error {
	defer conn.Close()
	if err := d.handshake(conn); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	buffer := make([]byte, 0, 1<<20)
	for {
		var request struct {
			Magic       uint32
			Flags, Type uint16
			Handle      uint64
			Offset      uint64
			Length      uint32
		}
		if err := binary.Read(conn, binary.BigEndian, &request); err != nil {
			return err
		}
		if request.Magic != nbdRequestMagic || request.Length > nbdMaxBytes {
			return fmt.Errorf("not a request: %+v", request)
		}
		data := buffer[:0]
		if request.Type == nbdRead || request.Type == nbdWrite {
			data = append(data, make([]byte, request.Length)...)
		}
		var err error
		var code uint32 = nbdErrIO
		switch request.Type {
		case nbdRead:
			_, err = d.ReadAt(data, int64(request.Offset))
		case nbdWrite:
			if _, err := io.ReadFull(conn, data); err != nil {
				return err // cut in the middle of a request: it is not carried out
			}
			_, err = d.WriteAt(data, int64(request.Offset))
			data = nil
		case nbdFlush:
			err = d.Flush()
		case nbdDisconnect:
			return nil
		default:
			err, code = errors.ErrUnsupported, nbdErrInvalid
		}
		reply := binary.BigEndian.AppendUint32(nil, nbdSimpleMagic)
		if err != nil {
			reply, data = binary.BigEndian.AppendUint32(reply, code), nil
		} else {
			reply = binary.BigEndian.AppendUint32(reply, 0)
		}
		reply = binary.BigEndian.AppendUint64(reply, request.Handle)
		if _, err := conn.Write(append(reply, data...)); err != nil {
			return err
		}
	}
}

// handshake offers the one export there is, whatever name it is asked for by.
func (d *Disk) handshake(conn net.Conn) error {
	hello := binary.BigEndian.AppendUint64(nil, nbdMagic)
	hello = binary.BigEndian.AppendUint64(hello, nbdOptionMagic)
	hello = binary.BigEndian.AppendUint16(hello, nbdFixedNewstyle)
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	var flags uint32
	if err := binary.Read(conn, binary.BigEndian, &flags); err != nil {
		return err
	}
	for {
		var option struct {
			Magic          uint64
			Option, Length uint32
		}
		if err := binary.Read(conn, binary.BigEndian, &option); err != nil {
			return err
		}
		if option.Magic != nbdOptionMagic || option.Length > blockBytes {
			return fmt.Errorf("not an option: %+v", option)
		}
		if _, err := io.CopyN(io.Discard, conn, int64(option.Length)); err != nil {
			return err
		}
		reply := func(kind uint32, data []byte) error {
			answer := binary.BigEndian.AppendUint64(nil, nbdReplyMagic)
			answer = binary.BigEndian.AppendUint32(answer, option.Option)
			answer = binary.BigEndian.AppendUint32(answer, kind)
			answer = binary.BigEndian.AppendUint32(answer, uint32(len(data)))
			_, err := conn.Write(append(answer, data...))
			return err
		}
		switch option.Option {
		case nbdOptionGo:
			info := binary.BigEndian.AppendUint16(nil, 0) // NBD_INFO_EXPORT
			info = binary.BigEndian.AppendUint64(info, uint64(d.size))
			info = binary.BigEndian.AppendUint16(info, nbdHasFlags|nbdSendFlush)
			return errors.Join(reply(nbdInfo, info), reply(nbdAck, nil))
		case nbdOptionAbort:
			return errors.New("QEMU does not want the disk")
		default:
			if err := reply(nbdUnsupported, nil); err != nil {
				return err
			}
		}
	}
}
