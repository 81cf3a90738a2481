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

// requestsOf are those that the operator has made of the API server.
func requestsOf(ctx context.Context, p *local.Platform) (r requests, err error) {
	err = eachMetric(ctx, p, "rest_client_requests_total", func(labels string, n float64) {
		if strings.Contains(labels, `method="GET"`) {
			r.reads += int(n)
		} else {
			r.writes += int(n)
		}
	})
	return r, err
}

// waiting is how many objects wait for a controller of the operator's.
func waiting(ctx context.Context, p *local.Platform, controller string) (n int, err error) {
	err = eachMetric(ctx, p, "workqueue_depth", func(labels string, depth float64) {
		if strings.Contains(labels, `name="`+controller+`"`) {
			n += int(depth)
		}
	})
	return n, err
}

// eachMetric reads the operator's own metrics of a name.
func eachMetric(ctx context.Context, p *local.Platform, name string, do func(labels string, value float64)) error {
	url := fmt.Sprintf("http://127.0.0.1:%d/metrics", p.Ports.OperatorMetrics)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		labels, ok := strings.CutPrefix(lines.Text(), name+"{")
		if !ok {
			continue
		}
		end := strings.LastIndexByte(labels, ' ')
		value, err := strconv.ParseFloat(labels[end+1:], 64)
		if err != nil {
			return err
		}
		do(labels[:end], value)
	}
	return lines.Err()
}
