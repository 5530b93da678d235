package documents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/atoll-live/atoll/server/console/publish"
	"github.com/atoll-live/atoll/server/console/store"
	"github.com/atoll-live/atoll/space"
)

// settingsPause is the time between tries to publish settings in a space in
// which a move runs.
const settingsPause = time.Second

// AdoptSettings publishes every space anew whose snapshot has other settings
// than this console was started with. It waits for moves to end, and returns
// when all is done or ctx ends.
func (s *Service) AdoptSettings(ctx context.Context, log *slog.Logger) error {
	for {
		left, err := s.adoptSettings(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			log.Warn("settings are not published yet, trying again", "err", err)
		case left == 0:
			return nil
		}
		t := time.NewTimer(settingsPause)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

// adoptSettings returns how many spaces must wait.
func (s *Service) adoptSettings(ctx context.Context) (left int, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	st, err := load(ctx, s.cfg.Store)
	if err != nil {
		return 1, err
	}
	for code, c := range st.spaces {
		if c.Snapshot.Settings == s.cfg.Settings {
			continue
		}
		next, err := c.Next()
		if err != nil {
			return 1, err
		}
		next.Settings = s.cfg.Settings
		t, err := publish.Txn(c, next, publish.Why{
			By: "console", Action: "settings", Object: code, At: time.Now().UTC(), Detail: describe(s.cfg.Settings),
		})
		if err != nil {
			return 1, err
		}
		t.If = append(t.If, store.Absent(store.ActiveMoveKey(code)))
		switch _, err := s.cfg.Store.Commit(ctx, t); {
		case errors.Is(err, store.ErrConflict):
			left++
		case err != nil:
			return 1, err
		}
	}
	return left, nil
}

func describe(s space.Settings) string {
	ttl := "off"
	if s.FenceTTL > 0 {
		ttl = s.FenceTTL.String()
	}
	return fmt.Sprintf("fence ttl %s, fence deadline %v, hold max %v", ttl, s.FenceDeadline, s.HoldMax)
}
