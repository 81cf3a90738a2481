package local

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// memory is where Linux keeps files in memory.
const memory = "/dev/shm"

// scratch is a folder in memory for what a program writes by the thousand and throws
// away: for a checkout of thousands of files, making them on a disk is two thirds
// of what Flux's source-controller does. Where there is no such place, or somebody
// else has the folder's name, it is one on the disk.
func (p *Platform) scratch() string {
	folder := p.scratchInMemory()
	if err := p.dropScratch(); err != nil { // of a platform that was killed
		return p.file(temporaryDir)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return p.file(temporaryDir)
	}
	return folder
}

// dropScratch removes the folder in memory, unless it is somebody else's.
func (p *Platform) dropScratch() error {
	err := os.RemoveAll(p.scratchInMemory())
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// scratchInMemory has the same name for the same platform, so that whoever stops it
// finds it.
func (p *Platform) scratchInMemory() string {
	sum := sha256.Sum256([]byte(p.Dir))
	return filepath.Join(memory, "aether-"+hex.EncodeToString(sum[:8]))
}
