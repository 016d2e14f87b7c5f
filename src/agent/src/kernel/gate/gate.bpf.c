/* The gate: a tc program that keeps lease ends on CLOCK_BOOTTIME. Its instructions stand in program.rs, so that
 * no user's machine needs a compiler; a test compiles this file where clang is and compares.
 *
 * An address of the map whose end has passed is closed. In: what asks for it or is sent to it is dropped. Out:
 * what claims it or comes from it is dropped. A new owner's claims and packets pass on a closed node, so that
 * its neighbour table learns and its clients work. An address that is not in the map is not ours: untouched.
 * ARP, IP or IPv6 that cannot be read is dropped while any closed address stands.
 *
 * Deliberately absent: any write, any decision about who owns what, VLAN ids (an address is one in a namespace).
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Address (IPv4 as ::ffff:a.b.c.d) to its place in `ends`. Written when an address comes or goes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u8[16]);
	__type(value, __u32);
} places SEC(".maps");

/* Ends in nanoseconds since boot, changed in place: an element of a hash map is replaced by its update, and its
 * memory may be given to another key while a program still reads it. Place 0 is the soonest of all ends. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65537);
	__type(key, __u32);
	__type(value, __u64);
} ends SEC(".maps");

#define PASS TC_ACT_UNSPEC /* on to the next program */
#define DROP TC_ACT_SHOT
#define TAGS_MAX 4
#define HEADERS_MAX 8

enum way { IN, OUT };
/* Where offsets count from: the frame's first byte on links with an Ethernet header, else the network header. */
enum link { ETHER, BARE };

static __always_inline int past(const __u64 *end)
{
	return bpf_ktime_get_boot_ns() >= *(const volatile __u64 *)end;
}

static __always_inline int unreadable(void)
{
	__u32 zero = 0;
	__u64 *soonest = bpf_map_lookup_elem(&ends, &zero);
	return !soonest || past(soonest) ? DROP : PASS;
}

static __always_inline int closed(const void *key)
{
	__u32 *place = bpf_map_lookup_elem(&places, key);
	if (!place)
		return 0;
	__u32 at = *place;
	__u64 *end = bpf_map_lookup_elem(&ends, &at);
	return !end || past(end);
}

static __always_inline int closed4(__u32 address)
{
	__u32 key[4] = { 0, 0, bpf_htonl(0xffff), address };
	return closed(key);
}

static __always_inline int load(struct __sk_buff *skb, enum link link, __u32 at, void *to, __u32 length)
{
	if (link == BARE)
		return bpf_skb_load_bytes_relative(skb, at, to, length, BPF_HDR_START_NET);
	return bpf_skb_load_bytes(skb, at, to, length);
}

static __always_inline int arp(struct __sk_buff *skb, enum way way, __u32 at)
{
	struct {
		__be16 hardware, protocol;
		__u8 hardware_length, protocol_length;
		__be16 operation;
	} head;
	__u32 sender, target;

	if (load(skb, ETHER, at, &head, sizeof(head)))
		return unreadable();
	if (head.protocol != bpf_htons(ETH_P_IP) || head.protocol_length != 4)
		return unreadable();
	at += sizeof(head) + head.hardware_length;
	if (load(skb, ETHER, at, &sender, 4))
		return unreadable();
	if (way == OUT)
		return closed4(sender) ? DROP : PASS;
	at += 4 + head.hardware_length;
	if (load(skb, ETHER, at, &target, 4))
		return unreadable();
	/* Sender and target at once: the new owner says that it has it. */
	return target != sender && closed4(target) ? DROP : PASS;
}

static __always_inline int ip4(struct __sk_buff *skb, enum way way, enum link link, __u32 at)
{
	__u8 first;
	__u32 address;

	if (load(skb, link, at, &first, 1) || first >> 4 != 4)
		return unreadable();
	if (load(skb, link, at + (way == IN ? 16 : 12), &address, 4))
		return unreadable();
	return closed4(address) ? DROP : PASS;
}

/* Neighbour discovery by its target, behind any extension headers. */
static __always_inline int ip6(struct __sk_buff *skb, enum way way, enum link link, __u32 at)
{
	__u8 first, next, two[4];
	__u32 key[4];

	if (load(skb, link, at, &first, 1) || first >> 4 != 6 || load(skb, link, at + 6, &next, 1))
		return unreadable();
	if (load(skb, link, at + (way == IN ? 24 : 8), key, 16))
		return unreadable();
	if (closed(key))
		return DROP;
	at += 40;
	for (int i = 0; i < HEADERS_MAX; i++) {
		switch (next) {
		case IPPROTO_ICMPV6:
			if (load(skb, link, at, two, 1))
				return unreadable();
			if (two[0] != (way == IN ? 135 : 136))
				return PASS;
			if (load(skb, link, at + 8, key, 16))
				return unreadable();
			return closed(key) ? DROP : PASS;
		case IPPROTO_FRAGMENT:
			if (load(skb, link, at, two, 4))
				return unreadable();
			/* A later fragment: its first one was judged, and is needed to put it together. */
			if ((two[2] << 8 | two[3]) & 0xfff8)
				return PASS;
			next = two[0];
			at += 8;
			continue;
		case IPPROTO_ROUTING:
			if (load(skb, link, at, two, 4))
				return unreadable();
			/* Goes on to an address that is not the destination's field. */
			if (way == IN && two[3])
				return unreadable();
			break;
		case IPPROTO_HOPOPTS:
		case IPPROTO_DSTOPTS:
		case 135: /* mobility */
		case 139: /* host identity */
		case 140: /* shim6 */
			if (load(skb, link, at, two, 2))
				return unreadable();
			break;
		case IPPROTO_AH:
			if (load(skb, link, at, two, 2))
				return unreadable();
			next = two[0];
			at += (two[1] + 2) * 4;
			continue;
		default:
			return PASS;
		}
		next = two[0];
		at += (two[1] + 1) * 8;
	}
	return unreadable();
}

static __always_inline int spoken(__u32 protocol)
{
	return protocol == bpf_htons(ETH_P_IP) || protocol == bpf_htons(ETH_P_IPV6) || protocol == bpf_htons(ETH_P_ARP);
}

static __always_inline int ether(struct __sk_buff *skb, enum way way)
{
	__be16 type;
	__u32 at = 12;

	if (load(skb, ETHER, at, &type, 2))
		return unreadable();
	/* What the stack will take it for and what it says it is must agree, unless neither concerns us. */
	if (type != skb->protocol && (spoken(type) || spoken(skb->protocol)))
		return unreadable();
	for (int i = 0; i < TAGS_MAX; i++) {
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		at += 4;
		if (load(skb, ETHER, at, &type, 2))
			return unreadable();
	}
	at += 2;
	switch (type) {
	case bpf_htons(ETH_P_ARP):
		return arp(skb, way, at);
	case bpf_htons(ETH_P_IP):
		return ip4(skb, way, ETHER, at);
	case bpf_htons(ETH_P_IPV6):
		return ip6(skb, way, ETHER, at);
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		return unreadable();
	default:
		return PASS;
	}
}

static __always_inline int bare(struct __sk_buff *skb, enum way way)
{
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return ip4(skb, way, BARE, 0);
	case bpf_htons(ETH_P_IPV6):
		return ip6(skb, way, BARE, 0);
	case bpf_htons(ETH_P_ARP):
		return unreadable();
	default:
		return PASS;
	}
}

SEC("tc/ether_in") int ether_in(struct __sk_buff *skb) { return ether(skb, IN); }
SEC("tc/ether_out") int ether_out(struct __sk_buff *skb) { return ether(skb, OUT); }
SEC("tc/bare_in") int bare_in(struct __sk_buff *skb) { return bare(skb, IN); }
SEC("tc/bare_out") int bare_out(struct __sk_buff *skb) { return bare(skb, OUT); }

/* What the clock is here, for a test run: a time namespace shifts what the agent reads, and not this. */
SEC("tc/clock") int clock(struct __sk_buff *skb)
{
	__u64 now = bpf_ktime_get_boot_ns();
	return bpf_skb_store_bytes(skb, 0, &now, sizeof(now), 0);
}

char _license[] SEC("license") = "Apache-2.0";
