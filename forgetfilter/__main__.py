from forgetfilter.cli import main

main()
