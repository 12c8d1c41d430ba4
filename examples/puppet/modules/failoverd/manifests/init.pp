# @summary Installs failoverd and keepalived, with one configuration for all nodes.
#
# @param config
#   The source of failoverd.toml: a puppet:/// address, or a path on the node.
# @param keepalived_config
#   The source of keepalived.conf.
# @param operators
#   Existing accounts that may act with failoverctl.
# @param units
#   The units that failoverd starts and stops; they must not start at boot.
#
class failoverd (
  String[1] $config,
  String[1] $keepalived_config,
  Array[Pattern[/\A[a-z_][a-z0-9_-]*\z/]] $operators = [],
  Array[String[1]] $units = [],
) {
  package { ['failoverd', 'keepalived']:
    ensure => installed,
  }

  file { '/etc/failoverd/failoverd.toml':
    ensure       => file,
    source       => $config,
    owner        => 'root',
    group        => 'root',
    mode         => '0644',
    # A bad one never takes the place of a good one.
    validate_cmd => '/usr/bin/failoverctl config check %',
    require      => Package['failoverd'],
  }

  # Not a `user`: the account is declared where it belongs, and a mistyped one is an error here.
  $operators.each |String $operator| {
    exec { "let ${operator} act with failoverctl":
      command  => "gpasswd --add ${operator} failoverd",
      unless   => "id --name --groups ${operator} | grep --quiet --word-regexp failoverd",
      provider => shell,
      path     => ['/usr/sbin', '/usr/bin', '/sbin', '/bin'],
      require  => Package['failoverd'],
    }
  }

  # Without `ensure`: on the MASTER they are at work. Where they should not run, failoverd stops them.
  service { $units:
    enable => false,
  }

  # Before keepalived, and with its new configuration before keepalived says anything.
  service { 'failoverd':
    ensure    => running,
    enable    => true,
    restart   => 'systemctl reload failoverd.service',
    subscribe => File['/etc/failoverd/failoverd.toml'],
  }

  file { '/etc/keepalived/keepalived.conf':
    ensure       => file,
    source       => $keepalived_config,
    owner        => 'root',
    group        => 'root',
    mode         => '0644',
    validate_cmd => '/usr/sbin/keepalived -t -f %',
    require      => [Package['keepalived'], Service['failoverd']],
  }

  # Never a restart: it would drop the VIPs of the MASTER, and move all that follows them.
  service { 'keepalived':
    ensure    => running,
    enable    => true,
    restart   => 'systemctl reload keepalived.service',
    subscribe => File['/etc/keepalived/keepalived.conf'],
  }
}
