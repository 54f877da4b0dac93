// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// How many descriptors this process may have open (RLIMIT_NOFILE of getrlimit(2)): one more than the highest number.
package struct OpenFileLimit: Hashable, Sendable {
    /// What counts. A process may set it up to `hard`.
    package let soft: UInt64
    /// What it can never exceed; only a privileged process sets it higher.
    package let hard: UInt64

    package init(soft: UInt64, hard: UInt64) {
        self.soft = soft
        self.hard = hard
    }

    #if canImport(Glibc)
    private static let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    #else
    private static let resource = RLIMIT_NOFILE
    #endif

    /// The one that holds now.
    package static var current: Self {
        get throws(SystemCallError) {
            var limit = rlimit()
            try check("getrlimit") { getrlimit(Self.resource, &limit) }
            return Self(soft: UInt64(limit.rlim_cur), hard: UInt64(limit.rlim_max))
        }
    }

    /// With another soft limit.
    package func with(soft: Int) -> Self { Self(soft: UInt64(soft), hard: self.hard) }

    /// Makes it hold, for the whole process.
    package func set() throws(SystemCallError) {
        var limit = rlimit(rlim_cur: rlim_t(self.soft), rlim_max: rlim_t(self.hard))
        try check("setrlimit") { setrlimit(Self.resource, &limit) }
    }

    /// Makes room for descriptors that are about to arrive: the kernel drops what does not fit. Raises the soft limit
    /// only if it is lower than what is needed, and only up to the hard limit.
    package static func makeRoom(for count: Int) {
        // What the process opens by itself, beside what it is given.
        let wanted = UInt64(count + 512)
        guard let limit = try? Self.current, limit.soft < wanted else { return }
        // Whoever may not keeps the limit it has: what does not fit is told of where it arrives.
        try? Self(soft: min(wanted, limit.hard), hard: limit.hard).set()
    }
}
