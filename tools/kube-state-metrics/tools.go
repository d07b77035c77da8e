//go:build tools

// Package tools pins the programs that the sandbox builds; it is never compiled itself.
package tools

import _ "k8s.io/kube-state-metrics/v2"
