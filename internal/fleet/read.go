package fleet

import "io"

// ReadDir reads the fleet directory dir.
func ReadDir(dir string) (Tree, error) { return Tree{}, nil }

// ReadTarGz reads the fleet directory at path from a gzip'ed tar archive.
func ReadTarGz(r io.Reader, path string) (Tree, error) { return Tree{}, nil }
