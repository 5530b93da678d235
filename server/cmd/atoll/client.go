package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ConsoleFlags say where the console stands. Commands that speak to it embed
// this struct.
type ConsoleFlags struct {
	Console   []string `env:"ATOLL_CONSOLE" placeholder:"URL" help:"Console, several in turn. Else the sandbox in --dir."`
	Dir       string   `default:".atoll/sandbox" help:"Directory of a sandbox whose console to use."`
	TokenFile string   `placeholder:"FILE" help:"File with the token for the console. Else ATOLL_TOKEN."`
}

// Consoles are the URLs to try in turn: --console or ATOLL_CONSOLE, else what
// the sandbox in --dir says.
func (f *ConsoleFlags) Consoles() ([]string, error) {
	if len(f.Console) > 0 {
		return f.Console, nil
	}
	file := filepath.Join(f.Dir, "info.json")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, unreachableError(fmt.Errorf("no console: %s does not exist (give --console URL, set ATOLL_CONSOLE, or name a running sandbox with --dir)", file))
	}
	if err != nil {
		return nil, usageError(fmt.Errorf("find the console: %w", err))
	}
	var info struct {
		Console []string `json:"console"`
	}
	if err := json.Unmarshal(data, &info); err != nil {
		return nil, usageError(fmt.Errorf("find the console: read %s: %w", file, err))
	}
	if len(info.Console) == 0 {
		return nil, usageError(fmt.Errorf("find the console: %s names none", file))
	}
	return info.Console, nil
}

// Token is the token for the console, "" for none.
func (f *ConsoleFlags) Token() (string, error) {
	if f.TokenFile == "" {
		return os.Getenv("ATOLL_TOKEN"), nil
	}
	token, err := secretFile("token-file", f.TokenFile)
	if err != nil {
		return "", usageError(err)
	}
	return token, nil
}
