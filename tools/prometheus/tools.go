//go:build tools

// Package tools pins the programs that the sandbox builds; it is never compiled itself.
package tools

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
