// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

extension Upgrader {
    /// How the next generation is started.
    ///
    /// Everything is looked up anew at each upgrade. A successor starts its own successors by *its* configuration, with
    /// what it was started with as the default. So what is given for one upgrade
    /// (``Upgrader/upgrade(startingWith:timeout:probation:)``) lasts as far as a process passes it on by itself: arguments,
    /// environment and directory do, for they are what the next process starts with; ``executable`` does not, unless the
    /// arguments name the new file as well.
    public struct Successor: Hashable, Sendable {
        /// The program: a path, or a name to look for in `PATH`. A relative path counts from the directory this process
        /// started in. nil: what this process was started by, `argv[0]`, as a shell would find it now.
        public var executable: String?

        /// All arguments, from `argv[0]` on. nil: those of this process, byte for byte.
        public var arguments: [String]?

        /// The variables that it gets.
        public var environment: Environment

        /// Where it starts, and what its relative paths count from. nil: the directory that this process started in. Where
        /// it is another one, it and every path of the configuration must be absolute, and so must Unix paths that are listened
        /// on and the path by which the program is started: the next generation would look for them elsewhere.
        public var directory: String?

        /// Makes a description.
        /// - Parameters:
        ///   - executable: see ``executable``.
        ///   - arguments: see ``arguments``.
        ///   - environment: see ``environment``.
        ///   - directory: see ``directory``.
        public init(
            executable: String? = nil, arguments: [String]? = nil, environment: Environment = .inherited,
            directory: String? = nil
        ) {
            self.executable = executable
            self.arguments = arguments
            self.environment = environment
            self.directory = directory
        }

        /// The variables that a successor gets. The one that the handshake needs is added to them, and never shows in
        /// the successor's own environment.
        public struct Environment: Hashable, Sendable {
            /// Whether it begins with the environment that this process has when it upgrades.
            public var inherits: Bool
            /// A file of variables that is read at each upgrade and added to what is inherited, in the form of systemd's
            /// `EnvironmentFile=` (systemd.exec(5)): so that a changed file arrives without a restart. A relative path
            /// counts from the directory this process started in.
            public var file: String?
            /// Variables that are set, or with nil removed, after everything else.
            public var changes: [String: String?]

            /// Makes a description.
            /// - Parameters:
            ///   - inherits: see ``inherits``.
            ///   - file: see ``file``.
            ///   - changes: see ``changes``.
            public init(inherits: Bool = true, file: String? = nil, changes: [String: String?] = [:]) {
                self.inherits = inherits
                self.file = file
                self.changes = changes
            }

            /// What this process has when it upgrades, without the variable of the handshake.
            public static let inherited = Environment()

            /// What this process has, with changes.
            /// - Parameter changes: variables that are set, or with nil removed.
            /// - Returns: the description.
            public static func inherited(changing changes: [String: String?]) -> Environment { .init(changes: changes) }

            /// What this process has, and what a file says at the time of the upgrade.
            /// - Parameter path: see ``file``.
            /// - Returns: the description.
            public static func inherited(andFile path: String) -> Environment { .init(file: path) }
        }

        func validate() throws(UpgradeError) {
            if let arguments, arguments.first?.isEmpty ?? true {
                throw UpgradeError(
                    .invalidConfiguration, "the successor's arguments have no argv[0]",
                    cure: "Begin them with the program's name, or leave them out."
                )
            }
            let paths = [self.executable, self.directory, self.environment.file].compactMap { $0 }
            let texts = (self.arguments ?? []) + paths
            if let text = texts.first(where: { $0.utf8.contains(0) }) {
                throw UpgradeError(
                    .invalidConfiguration, "\"\(text)\" has a zero byte in it, which no argument or path can have")
            }
            if paths.contains("") {
                throw UpgradeError(
                    .invalidConfiguration,
                    "the successor's executable, directory or environment file is the empty string",
                    cure: "Use nil for what this process was started with."
                )
            }
            for (name, value) in self.environment.changes
            where name.isEmpty || name.utf8.contains(UInt8(ascii: "=")) || (name + (value ?? "")).utf8.contains(0) {
                throw UpgradeError(.invalidConfiguration, "\"\(name)\" cannot be the name of a variable, or its value")
            }
        }
    }
}

extension ProcessStart {
    /// What to start, found anew at each upgrade, with the environment as it is then.
    func request(
        for successor: Upgrader.Successor, of configuration: Upgrader.Configuration
    ) throws(UpgradeError) -> SpawnRequest {
        try successor.validate()
        try self.validate(configuration, with: successor)
        let directory = successor.directory.map { self.absolute($0) } ?? self.directory
        var environment = successor.environment.inherits ? ProcessEnvironment.inheritable() : CStrings([])
        if !successor.environment.inherits {
            // It has the same service manager, and could not be in charge without saying so.
            for name in [NotifySocket.variable, Watchdog.timeVariable] {
                environment.set((Array(name.utf8), ProcessEnvironment.value(of: name).map { Array($0.utf8) }))
            }
        }
        if let file = successor.environment.file {
            for variable in try EnvironmentFile.read(self.absolute(file)) { environment.set(variable) }
        }
        for (name, value) in successor.environment.changes {
            environment.set((Array(name.utf8), value.map { Array($0.utf8) }))
        }
        environment.set((Array(ProcessEnvironment.channelVariable.utf8), nil))
        return SpawnRequest(
            executable: try ExecutablePath(
                finding: successor.executable.map { Array($0.utf8) } ?? self.arguments.strings.first ?? [],
                from: self.directory
            ),
            arguments: successor.arguments.map { CStrings($0.map { Array($0.utf8) }) } ?? self.arguments,
            environment: environment, directory: directory
        )
    }
}
