// SPDX-License-Identifier: Apache-2.0
//
// The door: who may come in, and to which worker.
//
// Two programs that share their maps. `admit` looks at the packets that reach a listening socket
// and drops those that begin a connection which is not to be; `steer` chooses among the workers'
// listening sockets. Both are loaded by sys/src/door.rs, which sets the constants below and says
// what the maps hold. Neither changes a packet, and a connection that is made is seen by neither.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// What the loader sets before the programs are loaded; it knows the same names.

// Nanoseconds from one connection of a source to the next at its rate; 0 is no limit.
const volatile __u64 interval;
// How far ahead of its rate a source may be: its burst, less one, times the interval.
const volatile __u64 tolerance;
// Which bits of an address tell sources apart, as the packet has them.
const volatile __u32 source_mask_v4;
const volatile __u32 source_mask_v6[4];
// Workers among whom connections are steered.
const volatile __u32 workers;

// Bounds of the loops, for the verifier: not less than the loader's.
#define WORKERS_MAX 256
#define ADDRESSES_MAX 16
// Attempts to be the one CPU that changes a source's time.
#define ATTEMPTS_MAX 8

#define TCP_FLAGS_OFFSET 13
#define TCP_SYN 0x02
#define TCP_ACK 0x10
#define IPV4_SOURCE_OFFSET 12
#define IPV6_SOURCE_OFFSET 8

// An address of IPv6, or one of IPv4 as IPv6 has it (::ffff:a.b.c.d, RFC 4291 section 2.5.5.2).
struct address {
	__u32 word[4];
};

struct network {
	__u32 bits;
	struct address address;
};

// A network of which nobody has said anything is there only to be longer than one that is not meant
// to hold it.
enum verdict { ALLOW, DENY, UNSAID };

struct rule {
	// Connections that this rule has decided about.
	__u64 hits;
	__u64 verdict;
};

enum count { ADMITTED, DENIED, OVER_RATE, SOURCES, STEERED, MIGRATED, COUNTS };

struct counts {
	__u64 of[COUNTS];
};

struct loads {
	// On how many addresses each worker listens.
	__u64 addresses;
	// What a connection more adds to a worker's load, until the workers say what it has added.
	__u64 connection;
	// Of each worker.
	__u64 worker[WORKERS_MAX];
};
// The load of a worker that is to get nobody.
#define NOBODY (~0ULL)

// Of several networks that hold an address the trie knows the longest.
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct network);
	__type(value, struct rule);
} rules SEC(".maps");

// The time that a source's next connection is due by its rate, on the clock since boot.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct address);
	__type(value, __u64);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct loads);
} loads SEC(".maps");

// By worker, and for each by address. The kernel takes those out that are closed.
struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} listeners SEC(".maps");

static __always_inline void count(enum count what)
{
	__u32 first = 0;
	struct counts *all = bpf_map_lookup_elem(&counts, &first);

	if (all)
		__sync_fetch_and_add(&all->of[what], 1);
}

// `is_v4` is asked of the packet by the caller: each kind of program has its own context.
static __always_inline bool load_source(void *packet, bool is_v4, struct address *source)
{
	if (is_v4) {
		source->word[0] = 0;
		source->word[1] = 0;
		source->word[2] = bpf_htonl(0xffff);
		return !bpf_skb_load_bytes_relative(packet, IPV4_SOURCE_OFFSET, &source->word[3], 4,
						    BPF_HDR_START_NET);
	}
	return !bpf_skb_load_bytes_relative(packet, IPV6_SOURCE_OFFSET, source, 16,
					    BPF_HDR_START_NET);
}

// The rule about a source, if there is one.
static __always_inline struct rule *rule_of(const struct address *source)
{
	struct network network = { .bits = 128, .address = *source };
	struct rule *rule = bpf_map_lookup_elem(&rules, &network);

	return rule && rule->verdict != UNSAID ? rule : NULL;
}

// From an address to the network that shares its rate.
static __always_inline void aggregate(struct address *source, bool is_v4)
{
	if (is_v4) {
		source->word[3] &= source_mask_v4;
		return;
	}
	source->word[0] &= source_mask_v6[0];
	source->word[1] &= source_mask_v6[1];
	source->word[2] &= source_mask_v6[2];
	source->word[3] &= source_mask_v6[3];
}

// The generic cell rate algorithm (ITU-T I.371, annex A), as virtual scheduling.
static __always_inline bool take(__u64 *due, __u64 now)
{
	for (int i = 0; i < ATTEMPTS_MAX; i++) {
		__u64 was = *(volatile __u64 *)due;
		__u64 from = was > now ? was : now;

		if (from - now > tolerance)
			return false;
		if (__sync_val_compare_and_swap(due, was, from + interval) == was)
			return true;
	}
	// Other CPUs have taken a connection of this source each time.
	return false;
}

// Whether one more connection of this source is within its rate, and counts it if so.
static __always_inline bool is_within_rate(const struct address *source)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 *due = bpf_map_lookup_elem(&sources, source);

	if (!due) {
		__u64 next = now + interval;

		if (!bpf_map_update_elem(&sources, source, &next, BPF_NOEXIST)) {
			count(SOURCES);
			return true;
		}
		due = bpf_map_lookup_elem(&sources, source);
		// There is no room. That is our trouble, and not the source's.
		if (!due)
			return true;
	}
	return take(due, now);
}

// The same question, without an effect.
static __always_inline bool would_be_within_rate(const struct address *source)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 *due = bpf_map_lookup_elem(&sources, source);

	return !due || *due <= now || *due - now <= tolerance;
}

// A filter of packets that have reached a listening socket (SO_ATTACH_BPF, socket(7)): 0 drops one
// without a word, anything else is how much of it to keep. That the kernel shows every packet of a
// handshake here is why only its first one is judged: the last one belongs to a connection that was
// admitted (tcp_v4_rcv in net/ipv4/tcp_ipv4.c).
SEC("socket")
int admit(struct __sk_buff *packet)
{
	bool is_v4 = packet->protocol == bpf_htons(ETH_P_IP);
	struct address source;
	struct rule *rule;
	__u8 flags;

	if (bpf_skb_load_bytes(packet, TCP_FLAGS_OFFSET, &flags, 1))
		return -1;
	if ((flags & (TCP_SYN | TCP_ACK)) != TCP_SYN)
		return -1;
	if (!load_source(packet, is_v4, &source))
		return -1;
	rule = rule_of(&source);
	if (rule) {
		__sync_fetch_and_add(&rule->hits, 1);
		if (rule->verdict == DENY) {
			count(DENIED);
			return 0;
		}
	} else if (interval) {
		aggregate(&source, is_v4);
		if (!is_within_rate(&source)) {
			count(OVER_RATE);
			return 0;
		}
	}
	count(ADMITTED);
	return -1;
}

// Whether `admit` will let this packet's source in, so that who stays outside is no load.
static __always_inline bool will_admit(struct sk_reuseport_md *packet)
{
	bool is_v4 = packet->eth_protocol == bpf_htons(ETH_P_IP);
	struct address source;
	struct rule *rule;

	if (!load_source(packet, is_v4, &source))
		return true;
	rule = rule_of(&source);
	if (rule)
		return rule->verdict != DENY;
	if (!interval)
		return true;
	aggregate(&source, is_v4);
	return would_be_within_rate(&source);
}

static __always_inline bool begins_connection(struct sk_reuseport_md *packet)
{
	__u8 flags;

	if (bpf_skb_load_bytes(packet, TCP_FLAGS_OFFSET, &flags, 1))
		return false;
	return (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

// Selects the worker's listening socket. Which address this is about only the kernel knows: it
// refuses sockets of another one.
static __always_inline bool select(struct sk_reuseport_md *packet, __u32 worker, __u64 addresses)
{
	for (__u32 i = 0; i < ADDRESSES_MAX && i < addresses; i++) {
		__u32 key = worker * ADDRESSES_MAX + i;

		if (!bpf_sk_select_reuseport(packet, &listeners, &key, 0))
			return true;
	}
	return false;
}

// Chooses the listening socket for a packet that has found several, and for a connection whose
// listening socket is closed before it was accepted (Documentation/networking/ip-sysctl.rst,
// tcp_migrate_req). SK_PASS without a socket leaves the choice to the kernel, which takes any.
SEC("sk_reuseport/migrate")
int steer(struct sk_reuseport_md *packet)
{
	bool migrates = packet->migrating_sk;
	__u64 least = NOBODY;
	__u32 first = 0, chosen = 0;
	struct loads *all = bpf_map_lookup_elem(&loads, &first);

	if (!all)
		return SK_PASS;
	for (__u32 i = 0; i < WORKERS_MAX && i < workers; i++) {
		__u64 load = *(volatile __u64 *)&all->worker[i];

		if (load < least) {
			least = load;
			chosen = i;
		}
	}
	if (least == NOBODY || !select(packet, chosen, all->addresses))
		return SK_PASS;
	if (migrates)
		count(MIGRATED);
	else if (begins_connection(packet) && will_admit(packet))
		count(STEERED);
	else
		return SK_PASS;
	if (chosen < WORKERS_MAX)
		__sync_fetch_and_add(&all->worker[chosen], all->connection);
	return SK_PASS;
}

// Nothing is used that the kernel reserves for programs under its own licence.
char _license[] SEC("license") = "Apache-2.0";
