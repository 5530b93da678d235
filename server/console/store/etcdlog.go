package store

import (
	"context"
	"log/slog"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapTo gives etcd a logger whose errors go to the console's own. Once quiet
// is set it says nothing more: an orderly Close makes etcd report errors of
// its own making.
func zapTo(logger *slog.Logger, quiet *atomic.Bool) *zap.Logger {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return zap.New(&slogCore{logger: logger, quiet: quiet})
}

type slogCore struct {
	logger *slog.Logger
	quiet  *atomic.Bool
}

func (c *slogCore) Enabled(l zapcore.Level) bool { return l >= zapcore.ErrorLevel && !c.quiet.Load() }

func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{logger: c.logger.With(attrs(fields)...), quiet: c.quiet}
}

// tooEarly is what etcd reports as an error when it wants to note its storage
// version before its first term is on disk. It tries again by itself.
const tooEarly = "failed to update storage version"

func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) && e.Message != tooEarly {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.logger.Log(context.Background(), slog.LevelError, "store: "+e.Message, attrs(fields)...)
	return nil
}

func (c *slogCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	var out []any
	for name, value := range enc.Fields {
		out = append(out, slog.Any(name, value))
	}
	return out
}
