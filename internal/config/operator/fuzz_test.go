package operator_test

import (
	"testing"

	"github.com/aetherplatform/aether/internal/config/configtest"
	"github.com/aetherplatform/aether/internal/config/operator"
)

// Whatever a file holds, it is read or refused in lines that can be read; and what is read
// is printed as a file of which the same is made.
func FuzzLoad(f *testing.F) {
	for _, seed := range append([]string{
		defaults, header,
		header + "cluster: \" a: b # c\"\nnamespace: '0x1'\nopenBao: {caFile: \"null\", tokenFile: é}",
		header + "memoryTarget: 1.5Gi\nconcurrency: 0b11\nopenBao: {requestsPerSecond: 1e21, checkInterval: 1h0m0.5s}",
		header + "openBao: &a {auth: *a}", header + "log: {<<: {level: x}}", header + "? [a]\n: b", header + "cluster: !!binary _w==",
		header + "memoryTarget: -1e-9\nleaderElection: {leaseDuration: -2562047h47m16.854775808s}",
	}, configtest.Broken...) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) { configtest.ReadOrRefused(t, operator.Load, data) })
}
