// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A consumer of a queue that is a folder: the name of a file is the job.
actor Worker {
    private let folder: String
    private let journal: String
    private var work: Task<Void, Never>?

    init(folder: String, journal: String) {
        self.folder = folder
        self.journal = journal
    }

    func start() {
        let (folder, journal) = (self.folder, self.journal)
        self.work = Task {
            while !Task.isCancelled {
                guard let job = Self.next(in: folder) else {
                    try? await Task.sleep(for: .milliseconds(20))
                    continue
                }
                await Self.perform(job, in: folder, journal)
            }
        }
    }

    /// Returns when the job at hand is done.
    func finish() async {
        self.work?.cancel()
        await self.work?.value
        self.work = nil
    }

    private static func next(in folder: String) -> String? {
        guard let directory = opendir(folder) else { return nil }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            // SAFETY: d_name ends with a zero.
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { return name }
        }
        return nil
    }

    /// In two steps with time between them: two workers at once would do it twice.
    private static func perform(_ job: String, in folder: String, _ journal: String) async {
        let line = Array("\(getpid()) \(job)\n".utf8)
        let file = open(journal, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o644)
        guard file >= 0, write(file, line, line.count) == line.count else {
            perror(journal)
            exit(1)
        }
        close(file)
        // The work. What has begun is finished, also when this process has been told to stop working.
        await Task { try? await Task.sleep(for: .milliseconds(2)) }.value
        unlink("\(folder)/\(job)")
    }
}
