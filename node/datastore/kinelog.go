package datastore

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	maxMessageBytes = 300              // kine prints whole requests, with the values in them
	repeatAfter     = 10 * time.Second // a message like one before is not said again sooner
)

// kineLog hands on what kine says by logrus, which knows one log for the process. Its progress reports are details; its
// complaints of single requests are left out while the store is known to fail.
type kineLog struct {
	log    *slog.Logger
	health *health

	mu   sync.Mutex
	said map[string]time.Time // beginning of a message -> when
}

var (
	kineLogOnce    sync.Once
	currentKineLog atomic.Pointer[kineLog] // of the datastore started last
)

// logOfKine makes log the log of kine.
func logOfKine(log *slog.Logger, h *health) {
	currentKineLog.Store(&kineLog{log: log, health: h, said: map[string]time.Time{}})
	kineLogOnce.Do(func() {
		logrus.SetOutput(io.Discard)
		logrus.AddHook(kineHook{})
	})
}

type kineHook struct{}

func (kineHook) Levels() []logrus.Level { return logrus.AllLevels }

func (kineHook) Fire(e *logrus.Entry) error {
	currentKineLog.Load().say(e)
	return nil
}

func (k *kineLog) say(e *logrus.Entry) {
	level := slog.LevelDebug
	switch {
	case e.Level <= logrus.FatalLevel:
		level = slog.LevelError
	case e.Level <= logrus.WarnLevel:
		level = slog.LevelWarn
	}
	if strings.Contains(e.Message, "code = OutOfRange") {
		level = slog.LevelDebug // a revision that was compacted: an answer like others
	}
	if level == slog.LevelWarn && (k.health.failing() || k.saidLately(e.Message)) {
		return
	}
	message := withoutValue(k.health.store.Redact(strings.ToValidUTF8(e.Message, "?")))
	if len(message) > maxMessageBytes {
		message = message[:maxMessageBytes] + "…"
	}
	k.log.Log(context.Background(), level, "kine: "+message)
}

func (k *kineLog) saidLately(message string) bool {
	beginning := message[:min(24, len(message))]
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if now.Sub(k.said[beginning]) < repeatAfter {
		return true
	}
	if len(k.said) > 100 {
		clear(k.said)
	}
	k.said[beginning] = now
	return false
}

// withoutValue leaves the stored value out of a message about a request, and keeps the key and the error.
func withoutValue(message string) string {
	before, after, found := strings.Cut(message, " value:")
	if !found {
		return message
	}
	if i := strings.LastIndex(after, ": "); i >= 0 {
		return before + " …" + after[i:]
	}
	return before + " …"
}
