package reach

import (
	"net/netip"
	"slices"
)

// Addresses is a set of addresses: ranges, sorted and apart from one another.
type Addresses []AddressRange

// AddressRange has both ends included, and both of one family.
type AddressRange struct{ From, To netip.Addr }

func rangeOf(p netip.Prefix) AddressRange {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 1 << (7 - bit%8)
	}
	to, _ := netip.AddrFromSlice(last)
	return AddressRange{p.Addr(), to}
}

// AddressesOf are those of networks, which have to be written as such.
func AddressesOf(prefixes ...string) Addresses {
	var out Addresses
	for _, p := range prefixes {
		out = append(out, rangeOf(netip.MustParsePrefix(p)))
	}
	return out.Tidy()
}

// Tidy sorts and joins the ranges.
func (a Addresses) Tidy() Addresses {
	slices.SortFunc(a, func(x, y AddressRange) int { return x.From.Compare(y.From) })
	var out Addresses
	for _, r := range a {
		if n := len(out); n > 0 && sameFamily(out[n-1], r) {
			after := out[n-1].To.Next()
			if !after.IsValid() || r.From.Compare(after) <= 0 {
				if r.To.Compare(out[n-1].To) > 0 {
					out[n-1].To = r.To
				}
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

func sameFamily(a, b AddressRange) bool { return a.From.Is4() == b.From.Is4() }

// Without is what is in a and not in b. Both are tidy.
func (a Addresses) Without(b Addresses) Addresses {
	var out Addresses
	start := 0
	for _, r := range a {
		for start < len(b) && b[start].To.Compare(r.From) < 0 {
			start++
		}
		from, left := r.From, true
		for _, taken := range b[start:] {
			if taken.From.Compare(r.To) > 0 {
				break
			}
			if !sameFamily(taken, r) || taken.To.Compare(from) < 0 {
				continue
			}
			if taken.From.Compare(from) > 0 {
				out = append(out, AddressRange{from, taken.From.Prev()})
			}
			if from = taken.To.Next(); !from.IsValid() || from.Compare(r.To) > 0 {
				left = false
				break
			}
		}
		if left {
			out = append(out, AddressRange{from, r.To})
		}
	}
	return out
}

// Holds says whether all of b is in a.
func (a Addresses) Holds(b Addresses) bool { return len(b.Without(a)) == 0 }

// Overlaps says whether any of b is in a.
func (a Addresses) Overlaps(b Addresses) bool {
	for _, r := range a {
		for _, o := range b {
			if r.From.Compare(o.To) <= 0 && o.From.Compare(r.To) <= 0 {
				return true
			}
		}
	}
	return false
}

// First is the first address that a host of the set may have: the first of a network
// names the network.
func (a Addresses) First() netip.Addr {
	if len(a) == 0 {
		return netip.Addr{}
	}
	if next := a[0].From.Next(); next.IsValid() && next.Compare(a[0].To) < 0 {
		return next
	}
	return a[0].From
}

// One is an address by itself.
func One(a netip.Addr) Addresses { return Addresses{{a, a}} }

// Well-known addresses.
var (
	Everywhere = AddressesOf("0.0.0.0/0", "::/0")
	Metadata   = AddressesOf("169.254.169.254/32", "fd00:ec2::254/128")
	// public is where the internet is. Of IPv6 that is all that is given out.
	publicV4 = AddressesOf("0.0.0.0/0").Without(AddressesOf(
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3"))
	publicV6 = AddressesOf("2000::/3")
)

// Internet says whether so much is in it that it is no network of anybody's: a
// sixteenth of all public addresses, or more.
func (a Addresses) Internet() bool {
	var v4, v6 uint64
	for _, r := range a {
		b, e := r.From.As16(), r.To.As16()
		if r.From.Is4() {
			if publicV4.Overlaps(Addresses{r}) {
				v4 += uint64(be32(e[12:])-be32(b[12:])) + 1
			}
			continue
		}
		if publicV6.Overlaps(Addresses{r}) {
			v6 += uint64(be32(e[:4])-be32(b[:4])) + 1
		}
	}
	return v4 >= 1<<28 || v6 >= 1<<25
}

func be32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// Texts writes the set as prefixes, or as ranges where that is shorter.
func (a Addresses) Texts() []string {
	var out []string
	for _, r := range a {
		if p, ok := r.prefix(); ok {
			out = append(out, p.String())
			continue
		}
		out = append(out, r.From.String()+" to "+r.To.String())
	}
	return out
}

// prefix is the one prefix that is the range, if there is one.
func (r AddressRange) prefix() (netip.Prefix, bool) {
	for bits := 0; bits <= r.From.BitLen(); bits++ {
		p := netip.PrefixFrom(r.From, bits)
		if p.Masked() == p && rangeOf(p) == r {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
