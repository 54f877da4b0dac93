// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

/// What the kernel knows of a process, from the files of proc(5). Darwin has none: there the facts are empty, and what
/// compares them compares nothing.
struct ProcessFacts: Hashable, Sendable {
    /// What each open descriptor is. Without the event queue of libdispatch, which it opens when it first needs it.
    var descriptors: [Int: String]
    /// Also those that have ended and were not reaped.
    var children: [CInt]

    /// Facts of a process that has ended are empty.
    init(of process: CInt) {
        self.descriptors = [:]
        for name in Self.names(in: "/proc/\(process)/fd") {
            guard let number = Int(name),
                let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(process)/fd/\(name)"),
                !["eventpoll", "eventfd", "timerfd"].contains(where: target.contains)
            else { continue }
            self.descriptors[number] = target
        }
        self.children = Self.names(in: "/proc/\(process)/task")
            .flatMap { Self.text("/proc/\(process)/task/\($0)/children").split(separator: " ").compactMap { CInt($0) } }
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

    static func arguments(of process: CInt) -> Data { self.data("/proc/\(process)/cmdline") }

    /// Without the private variable, which is in the memory that the kernel shows even when it has been unset.
    static func environment(of process: CInt) -> [Data] {
        self.data("/proc/\(process)/environ").split(separator: 0).map { Data($0) }
            .filter { !$0.starts(with: Array("TABLEFLIP_CHANNEL=".utf8)) }
    }

    static func executable(of process: CInt) -> String? {
        try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(process)/exe")
    }

    /// `Z` for a process that has ended and was not reaped; nil for none at all.
    static func state(of process: CInt) -> Character? { self.status(of: process)?.first?.first }

    /// Time on a processor so far, in clock ticks (a hundredth of a second).
    static func ticks(of process: CInt) -> Int {
        self.status(of: process).map { $0[11...12].compactMap { Int($0) }.reduce(0, +) } ?? 0
    }

    static func processes(inGroup group: CInt) -> [CInt] {
        self.names(in: "/proc").compactMap { CInt($0) }.filter { self.status(of: $0)?[2] == "\(group)" }
    }

    /// The fields behind the name, which may have spaces in it: state, parent, group, …
    private static func status(of process: CInt) -> [Substring]? {
        let text = self.text("/proc/\(process)/stat")
        return text.lastIndex(of: ")").map { text[text.index($0, offsetBy: 2)...].split(separator: " ") }
    }

    private static func names(in directory: String) -> [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    }

    private static func text(_ path: String) -> String { String(decoding: self.data(path), as: UTF8.self) }

    /// Empty for a process that is gone, or goes meanwhile.
    private static func data(_ path: String) -> Data { (try? Data(contentsOf: URL(filePath: path))) ?? Data() }
}
