// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import TableflipSystem

#if canImport(Glibc)
@preconcurrency import Glibc
#elseif canImport(Musl)
@preconcurrency import Musl
#else
import Darwin
#endif

/// What other parts of a program do all the time, without a thought for upgrades: one thread opens and closes files that
/// are not close-on-exec, another starts programs, and says of each what it has open.
enum Storm {
    static func begin() {
        let errors = [tf_start_thread(openFiles, nil, "files"), tf_start_thread(startPrograms, nil, "programs")]
        if errors != [0, 0] { fatalError("no thread") }
    }

    /// What is open in this process now, by number.
    static var openNumbers: [CInt] { (0..<4096).filter { fcntl($0, F_GETFD) >= 0 } }
}

private func openFiles(_: UnsafeMutableRawPointer?) {
    while true {
        let numbers = (0..<20).map { _ in open("/dev/zero", O_RDONLY) }
        for number in numbers where number >= 0 { close(number) }
    }
}

private func startPrograms(_: UnsafeMutableRawPointer?) {
    while true {
        // What a socket, or a descriptor that stands for a process, looks like: this program declares none for a child.
        let seen = ForeignChild.run().filter { $0.contains("socket:") || $0.contains("pidfd") || $0.contains("memfd") }
        Probe.say(0, "storm \(seen.isEmpty ? "clean" : "\(seen)")")
    }
}
