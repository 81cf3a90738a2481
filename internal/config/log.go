package config

import (
	"io"
	"log/slog"
)

// Log is what a program logs, and how. It goes to stderr.
type Log struct {
	// Level is debug, info or error. Default: info.
	Level string `yaml:"level"`
	// Format is json or text. Default: json.
	Format string `yaml:"format"`
}

// DefaultLog is Log without a file.
func DefaultLog() Log { return Log{Level: "info", Format: "json"} }

// levels of Log.Level; debug is logr's first verbosity, which counts down from info.
var levels = map[string]slog.Level{"debug": slog.LevelInfo - 1, "info": slog.LevelInfo, "error": slog.LevelError}

// Validate adds what is wrong with it, which is the field log.
func (l Log) Validate(p *Problems) {
	p.OneOf("log.level", l.Level, "is not a level", "debug", "info", "error")
	p.OneOf("log.format", l.Format, "is not a format", "json", "text")
}

// Handler writes to w what Log asks for.
func (l Log) Handler(w io.Writer) slog.Handler {
	opts := &slog.HandlerOptions{Level: levels[l.Level]}
	if l.Format == "text" {
		return slog.NewTextHandler(w, opts)
	}
	return slog.NewJSONHandler(w, opts)
}
