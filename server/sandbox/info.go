package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The shop's space, as every sandbox has it.
const (
	SpaceCode = "shop"
	RuleID    = "1003"
	Host      = "shop.atoll.test"
	KeyName   = "user" // query parameter and variable
	Modulo    = 10000
)

// Info is what `atoll sandbox info -o json` prints. Scripts outside the
// repository read it: fields are added, never renamed.
type Info struct {
	Dir        string        `json:"dir"`
	Space      string        `json:"space"`
	Rule       string        `json:"rule"`
	Host       string        `json:"host"`
	Console    []string      `json:"console"`
	Units      []UnitInfo    `json:"units"`
	Others     []SpaceInfo   `json:"others,omitempty"` // further spaces; what stands above is the first
	Processes  []ProcessInfo `json:"processes"`
	Supervisor int           `json:"supervisor"` // pid
	WAN        WANInfo       `json:"wan"`
	Break      string        `json:"break,omitempty"`
}

// SpaceInfo is a space and its ways in.
type SpaceInfo struct {
	Space string     `json:"space"`
	Rule  string     `json:"rule"`
	Host  string     `json:"host"`
	Units []UnitInfo `json:"units"`
}

// add takes a space in; the first one stands at the top.
func (i *Info) add(s SpaceInfo) {
	if i.Space == "" {
		i.Space, i.Rule, i.Host, i.Units = s.Space, s.Rule, s.Host, s.Units
		return
	}
	i.Others = append(i.Others, s)
}

// Spaces are all of them.
func (i *Info) Spaces() []SpaceInfo {
	return append([]SpaceInfo{{i.Space, i.Rule, i.Host, i.Units}}, i.Others...)
}

// Of is the sandbox as one of its spaces has it: the parts that are a space's own
// are those of that space. A space that it does not have is an InvalidError.
func (i *Info) Of(space string) (*Info, error) {
	for _, s := range i.Spaces() {
		if s.Space == space {
			of := *i
			of.Space, of.Rule, of.Host, of.Units, of.Others = s.Space, s.Rule, s.Host, s.Units, nil
			return &of, nil
		}
	}
	return nil, invalid("the sandbox has no space %s: it has %s", space, names(i.Spaces(), func(s SpaceInfo) string { return s.Space }))
}

// UnitInfo is one site.
type UnitInfo struct {
	Code     string     `json:"code"`
	Type     string     `json:"type"` // CENTER or UNIT
	Gateway  string     `json:"gateway"`
	App      string     `json:"app"` // of the first cell
	Cells    []CellInfo `json:"cells"`
	DBProxy  ServerInfo `json:"dbproxy"`
	Database ServerInfo `json:"database"` // the server itself, with all rights
	Redis    RedisInfo  `json:"redis"`
}

// CellInfo is one cell of a site.
type CellInfo struct {
	Code    string `json:"code"`
	URL     string `json:"url"`     // of the application
	Process string `json:"process"` // name of the application's process
}

// ServerInfo is how to reach a server that speaks MySQL's protocol.
type ServerInfo struct {
	Host     string `json:"host"`
	Port     int    `json:"port"`
	User     string `json:"user"`
	Password string `json:"password"`
	Database string `json:"database"`
}

// RedisInfo gives host:port of the unit's own and of the center's Redis as
// the unit reaches it.
type RedisInfo struct {
	Unit   string `json:"unit"`
	Center string `json:"center"`
}

// ProcessInfo is one child of the supervisor.
type ProcessInfo struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Unit     string `json:"unit"`
	PID      int    `json:"pid"` // 0: not running now
	Restarts int    `json:"restarts"`
	Log      string `json:"log"`
}

// WANInfo is the relay between the sites.
type WANInfo struct {
	Status string `json:"status"` // URL; GET /links shows the links
	RTTMs  int64  `json:"rtt_ms"`
}

// Center is the unit of type CENTER.
func (i *Info) Center() *UnitInfo {
	for n := range i.Units {
		if i.Units[n].Type == "CENTER" {
			return &i.Units[n]
		}
	}
	return nil
}

// Unit is the unit with a code, nil for an unknown one.
func (i *Info) Unit(code string) *UnitInfo {
	for n := range i.Units {
		if i.Units[n].Code == code {
			return &i.Units[n]
		}
	}
	return nil
}

const infoFile = "info.json"

// ReadInfo reads what the sandbox in dir wrote when it was ready, with the
// process ids of now. It gives ErrNotRunning when none runs there.
func ReadInfo(dir string) (*Info, error) {
	pid, err := runningIn(dir)
	if err != nil {
		return nil, err
	}
	if pid == 0 {
		return nil, fmt.Errorf("%s: %w (start it with `atoll sandbox up --dir %s`)", dir, ErrNotRunning, dir)
	}
	text, err := os.ReadFile(filepath.Join(dir, infoFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the sandbox in %s is still starting: %w", dir, ErrNotRunning)
	}
	if err != nil {
		return nil, fmt.Errorf("read sandbox info: %w", err)
	}
	var info Info
	if err := json.Unmarshal(text, &info); err != nil {
		return nil, fmt.Errorf("read sandbox info: %w", err)
	}
	return &info, nil
}

// write replaces the file at once, so that no reader sees half of it. Its
// passwords are for the owner alone.
func (i *Info) write(dir string) error {
	text, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return fmt.Errorf("write sandbox info: %w", err)
	}
	return replaceFile(filepath.Join(dir, infoFile), append(text, '\n'), 0o600)
}

func replaceFile(path string, text []byte, mode os.FileMode) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, text, mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
