package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
)

// Held are the streams of a command whose result is written whole, once the command has
// ended: what Ctrl-C cuts short prints nothing that looks like a result. What goes to
// standard error is written at once, after the result that was there before it, so that
// both are in order on a terminal.
type Held struct {
	ctx      context.Context
	out, err io.Writer
	speak    func(string) string

	mu     sync.Mutex
	result bytes.Buffer
	failed error
}

// Hold returns a copy of env whose streams are held.
func Hold(ctx context.Context, env *Env) (*Env, *Held) {
	e := *env
	h := &Held{ctx: ctx, out: env.Out, err: env.Err, speak: e.Speak}
	e.Out, e.Err = writer(h.hold), writer(h.tell)
	if env.In != nil {
		e.In = &input{ctx, env.In}
	}
	return &e, h
}

// input is what a command reads. Ctrl-C ends a wait for it.
type input struct {
	ctx  context.Context
	from io.Reader
}

// Read reads into a slice of its own: once it was interrupted, p is the caller's again.
func (i *input) Read(p []byte) (int, error) {
	type answer struct {
		data []byte
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		data := make([]byte, len(p))
		n, err := i.from.Read(data)
		read <- answer{data[:n], err}
	}()
	select {
	case a := <-read:
		return copy(p, a.data), a.err
	case <-i.ctx.Done():
		return 0, i.ctx.Err()
	}
}

// Flush writes the result. Where the command was interrupted, it is thrown away and the
// error is the context's.
func (h *Held) Flush() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flush()
	return h.failed
}

func (h *Held) flush() {
	if h.result.Len() == 0 {
		return
	}
	data := h.result.Bytes()
	defer h.result.Reset()
	if h.failed == nil {
		h.failed = h.ctx.Err()
	}
	if h.failed != nil {
		return
	}
	if _, err := h.out.Write(data); err != nil {
		h.failed = fmt.Errorf("cannot write the result: %w", err)
	}
}

func (h *Held) hold(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.result.Write(p)
}

func (h *Held) tell(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flush()
	if _, err := io.WriteString(h.err, h.speak(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
