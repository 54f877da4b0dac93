// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

/// What the kernel knows of a process, from the files of proc(5). Darwin has none: there the facts are empty, and what
/// compares them compares nothing.
struct ProcessFacts: Equatable, Sendable {
    /// What each open descriptor is. Without the event queue of libdispatch, which it opens when it first needs it.
    var descriptors: [Int: String]
    private static let eventQueue = ["anon_inode:[eventpoll]", "anon_inode:[eventfd]", "anon_inode:[timerfd]"]

    /// Also those that have ended and were not reaped.
    var children: [CInt]

    /// Facts of a process that has ended are empty.
    init(of process: CInt) {
        self.descriptors = [:]
        for name in Self.names(in: "/proc/\(process)/fd") {
            guard let number = Int(name), let target = Self.link("/proc/\(process)/fd/\(name)") else { continue }
            if !Self.eventQueue.contains(target) { self.descriptors[number] = target }
        }
        self.children = Self.names(in: "/proc/\(process)/task")
            .flatMap { Self.text("/proc/\(process)/task/\($0)/children").split(separator: " ").compactMap { CInt($0) } }
    }

    /// By which number something goes says nothing: what another thread has open for a moment takes one.
    static func == (one: Self, other: Self) -> Bool {
        one.children == other.children && one.descriptors.values.sorted() == other.descriptors.values.sorted()
    }

    /// The same for two generations: kinds of descriptors, how many of each.
    var kinds: [String: Int] {
        self.descriptors.values.reduce(into: [:]) { $0[String($1.prefix { $0 != "[" }), default: 0] += 1 }
    }

    /// The threads of library and probe, by name: those of libdispatch come and go.
    static func threads(of process: CInt) -> [String] {
        self.names(in: "/proc/\(process)/task").map { self.text("/proc/\(process)/task/\($0)/comm") }
            .map { $0.trimmingCharacters(in: .newlines) }
            .filter { $0.hasPrefix("tableflip") || $0 == "accept" || $0 == "fifo" }.sorted()
    }

    static func threadCount(of process: CInt) -> Int { self.names(in: "/proc/\(process)/task").count }

    static func residentKilobytes(of process: CInt) -> Int {
        let line = self.text("/proc/\(process)/smaps_rollup").split(separator: "\n").first { $0.hasPrefix("Rss:") }
        return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    }

    static func arguments(of process: CInt) -> Data { self.data("/proc/\(process)/cmdline") }

    /// Sorted, and what is there twice is here twice. Without the private variable, of which ``channels(of:)`` tells.
    static func environment(of process: CInt) -> [Data] { self.variables(of: process).filter { !self.isChannel($0) } }

    /// The private variable, as often as it is there: in the memory that the kernel shows also when it has been unset.
    static func channels(of process: CInt) -> [Data] { self.variables(of: process).filter { self.isChannel($0) } }

    private static func isChannel(_ variable: Data) -> Bool { variable.starts(with: Array("TABLEFLIP_CHANNEL=".utf8)) }

    private static func variables(of process: CInt) -> [Data] {
        self.data("/proc/\(process)/environ").split(separator: 0).map { Data($0) }
            .sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// As open(2) has them, of each descriptor that is a socket.
    static func flags(ofSocketsOf process: CInt) -> [CInt] {
        ProcessFacts(of: process).descriptors.filter { $0.value.hasPrefix("socket:") }.keys.compactMap { number in
            let lines = self.text("/proc/\(process)/fdinfo/\(number)").split(separator: "\n")
            let flags = lines.first { $0.hasPrefix("flags:") }?.split { $0 == " " || $0 == "\t" }.last
            return flags.flatMap { CInt($0, radix: 8) }
        }
    }

    /// What `/proc/PID/task/TID/status` says of each thread, by its id.
    static func statuses(of process: CInt) -> [CInt: [String: String]] {
        let threads = self.names(in: "/proc/\(process)/task").compactMap { CInt($0) }
        return threads.reduce(into: [:]) { all, thread in
            let lines = self.text("/proc/\(process)/task/\(thread)/status").split(separator: "\n").map {
                $0.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            }
            all[thread] = lines.filter { $0.count == 2 }.reduce(into: [:]) { status, line in
                status[String(line[0])] = line[1].trimmingCharacters(in: .whitespaces)
            }
        }
    }

    static func executable(of process: CInt) -> String? { self.link("/proc/\(process)/exe") }

    static func directory(of process: CInt) -> String? { self.link("/proc/\(process)/cwd") }

    /// `Z` for a process that has ended and was not reaped; nil for none at all.
    static func state(of process: CInt) -> Character? { self.fields(of: process)?.first?.first }

    /// Time on a processor so far, of all its threads.
    static func processorTime(of process: CInt) -> Duration {
        self.names(in: "/proc/\(process)/task")
            .compactMap { self.text("/proc/\(process)/task/\($0)/schedstat").split(separator: " ").first }
            .reduce(.zero) { $0 + .nanoseconds(Int64($1) ?? 0) }
    }

    /// Whether its engine waits for something to happen: it has done what it has said it does. Where there is no /proc, yes.
    static func engineWaits(in process: CInt) -> Bool {
        let threads = self.names(in: "/proc/\(process)/task").map { "/proc/\(process)/task/\($0)/" }
        let engines = threads.filter { self.text($0 + "comm") == "tableflip\n" }
        return engines.allSatisfy { self.text($0 + "stat").contains(") S ") }
    }

    /// Whether each of its threads has heard SIGSTOP. Where there is no /proc, yes.
    static func isStopped(_ process: CInt) -> Bool {
        self.names(in: "/proc/\(process)/task").allSatisfy {
            self.text("/proc/\(process)/task/\($0)/stat").contains(") T ")
        }
    }

    static func processes(inGroup group: CInt) -> Set<CInt> {
        Set(self.names(in: "/proc").compactMap { CInt($0) }.filter { self.fields(of: $0)?[2] == "\(group)" })
    }

    /// The fields behind the name, which may have spaces in it: state, parent, group, …
    private static func fields(of process: CInt) -> [Substring]? {
        let text = self.text("/proc/\(process)/stat")
        return text.lastIndex(of: ")").map { text[text.index($0, offsetBy: 2)...].split(separator: " ") }
    }

    // Foundation's ways to do the following cost more than all that is looked at.

    private static func names(in directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            // SAFETY: the name ends with a zero (readdir(3)), and is copied before the next call.
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            names.append(name)
        }
        return names.filter { $0 != "." && $0 != ".." }
    }

    private static func link(_ path: String) -> String? {
        var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = bytes.withUnsafeMutableBytes { buffer in
            buffer.baseAddress.map { readlink(path, $0.assumingMemoryBound(to: CChar.self), buffer.count) } ?? -1
        }
        return count < 0 ? nil : String(decoding: bytes[..<count], as: UTF8.self)
    }

    /// A whole file of proc(5). Foundation takes a file without a size for over with its first piece.
    static func text(_ path: String) -> String { String(decoding: self.data(path), as: UTF8.self) }

    /// Empty for a process that is gone, or goes meanwhile.
    private static func data(_ path: String) -> Data {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return Data() }
        defer { close(descriptor) }
        var data = Data()
        var bytes = [UInt8](repeating: 0, count: 4096)
        while case let count = read(descriptor, &bytes, bytes.count), count > 0 { data += bytes[..<count] }
        return data
    }
}
