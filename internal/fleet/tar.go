package fleet

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// tarBlock is what a tar archive is made of: a header is one, content is padded to one.
const tarBlock = 512

// entries reads a tar archive as archive/tar does, without what that allocates
// for each entry: a fleet has ten thousand, and nearly all are plain files with
// a plain header. From the first entry that is anything else, archive/tar reads.
type entries struct {
	r *bufio.Reader
	// left is what is not read of the entry's content, and padding what follows it.
	left, padding int64
	header        tar.Header
	rest          *tar.Reader
}

func newEntries(r io.Reader) *entries {
	return &entries{r: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next entry, or io.EOF. It is good until the call after.
func (e *entries) next() (*tar.Header, error) {
	if e.rest != nil {
		return e.rest.Next()
	}
	for e.left > 0 {
		n, err := e.r.Discard(int(min(e.left, 1<<20)))
		if err != nil {
			return nil, unexpected(err)
		}
		e.left -= int64(n)
	}
	if _, err := e.r.Discard(int(e.padding)); err != nil {
		return nil, err // as archive/tar has it, a last file needs no padding
	}
	e.padding = 0
	block, err := e.r.Peek(tarBlock)
	if err != nil || !e.plain(block) {
		e.rest = tar.NewReader(e.r) // it also knows how an archive ends
		return e.rest.Next()
	}
	e.left = e.header.Size
	e.padding = -e.left & (tarBlock - 1)
	_, _ = e.r.Discard(tarBlock) // it is buffered
	return &e.header, nil
}

// Read reads the entry's content.
func (e *entries) Read(p []byte) (int, error) {
	if e.rest != nil {
		return e.rest.Read(p)
	}
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	if e.left -= int64(n); e.left > 0 {
		err = unexpected(err)
	}
	return n, err
}

// Where the fields of a header are.
var (
	tarNumbers  = [][2]int{{100, 108}, {108, 116}, {116, 124}, {136, 148}, {329, 337}, {337, 345}} // mode, uid, gid, mtime, device
	tarSize     = [2]int{124, 136}
	tarChecksum = [2]int{148, 156}
	tarPrefix   = [2]int{345, 500}
)

// plain reads the header of a regular file or a directory as POSIX wrote it down
// in 1988, with a name that can be shown, and says whether it is one.
func (e *entries) plain(block []byte) bool {
	flag := block[156]
	if flag != tar.TypeReg && flag != tar.TypeDir || string(block[257:265]) != "ustar\x0000" || block[157] != 0 || string(block[508:]) == "tar\x00" {
		return false
	}
	for _, at := range tarNumbers {
		if _, ok := octal(block[at[0]:at[1]]); !ok {
			return false
		}
	}
	size, ok := octal(block[tarSize[0]:tarSize[1]])
	want, summed := octal(block[tarChecksum[0]:tarChecksum[1]])
	if !ok || !summed || want != checksum(block) || flag == tar.TypeDir && size != 0 {
		return false
	}
	name, prefix := text0(block[:100]), text0(block[tarPrefix[0]:tarPrefix[1]])
	if !shown(name) || !shown(prefix) {
		return false
	}
	full := string(name)
	if len(prefix) > 0 {
		full = string(prefix) + "/" + full
	}
	e.header = tar.Header{Typeflag: flag, Name: full, Size: size}
	return true
}

// octal is a number as nearly all archives hold it: digits, then only NULs or spaces.
func octal(field []byte) (n int64, ok bool) {
	digits := bytes.TrimRight(field, " \x00")
	for _, c := range digits {
		if c < '0' || c > '7' {
			return 0, false
		}
		n = n<<3 | int64(c-'0')
	}
	return n, true
}

// checksum is the sum of a header's bytes, its own field counting as spaces.
func checksum(block []byte) int64 {
	// Eight bytes at a time, into four sums of sixteen bits: 64 times 2 times 255 fits.
	const odd = 0x00ff00ff00ff00ff
	var sums uint64
	for i := 0; i < tarBlock; i += 8 {
		word := binary.LittleEndian.Uint64(block[i:])
		sums += word&odd + word>>8&odd
	}
	sum := int64(sums&0xffff + sums>>16&0xffff + sums>>32&0xffff + sums>>48)
	for _, c := range block[tarChecksum[0]:tarChecksum[1]] {
		sum += ' ' - int64(c)
	}
	return sum
}

// text0 is a text that may end with a NUL.
func text0(field []byte) []byte {
	if end := bytes.IndexByte(field, 0); end >= 0 {
		return field[:end]
	}
	return field
}

// shown says whether a text is printable ASCII.
func shown[T string | []byte](text T) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
