package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aetherplatform/aether/internal/local"
)

// clockTick is the unit of /proc/PID/stat, 100 a second on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// usage is what a process has used since it began.
type usage struct {
	cpu time.Duration
	// rss and peak are bytes of memory, now and at the most.
	rss, peak int64
}

// pidOf is the process of a program of the platform.
func pidOf(p *local.Platform, name string) (int, error) {
	for _, process := range p.Processes {
		if process.Name == name {
			return process.PID, nil
		}
	}
	return 0, fmt.Errorf("no process is called %q", name)
}

// used reads what the kernel has counted for a process.
func used(p *local.Platform, name string) (usage, error) {
	pid, err := pidOf(p, name)
	if err != nil {
		return usage{}, err
	}
	return usedBy(pid)
}

func usedBy(pid int) (usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	// The second field is a name in brackets; utime and stime are fields 14 and 15.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	var u usage
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return usage{}, err
		}
		u.cpu += time.Duration(ticks) * clockTick
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return usage{}, err
	}
	u.rss, u.peak = kilobytes(string(status), "VmRSS:"), kilobytes(string(status), "VmHWM:")
	return u, nil
}

func kilobytes(status, key string) int64 {
	_, after, _ := strings.Cut(status, key)
	line, _, _ := strings.Cut(after, "\n")
	n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(line), "kB")), 10, 64)
	return n << 10
}

// requests counts what the namespace operator has asked of the API server.
type requests struct{ reads, writes int }

func (r requests) since(earlier requests) requests {
	return requests{r.reads - earlier.reads, r.writes - earlier.writes}
}

// requestsOf reads the operator's own metrics.
func requestsOf(ctx context.Context, p *local.Platform) (requests, error) {
	url := fmt.Sprintf("http://127.0.0.1:%d/metrics", p.Ports.OperatorMetrics)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return requests{}, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return requests{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	var r requests
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, "rest_client_requests_total{") {
			continue
		}
		n, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return requests{}, err
		}
		if strings.Contains(line, `method="GET"`) {
			r.reads += int(n)
		} else {
			r.writes += int(n)
		}
	}
	return r, lines.Err()
}
